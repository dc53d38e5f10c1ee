using System.Security.Cryptography;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Target;

/// <summary>What a LunKit target offers to handler processes: the same that configfs says of the kernel's user backstores.</summary>
public sealed record UserDeviceOptions
{
    /// <summary>Handler and what it is to open: <c>SUBTYPE/PATH</c>.</summary>
    public required string Config { get; init; }

    /// <summary>Name of the device, without '/'.</summary>
    public required string Name { get; init; }

    /// <summary>HBA number, only a part of the name.</summary>
    public int Hba { get; init; }

    /// <summary>Size of the disk in bytes.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Logical block size in bytes.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Names of the unit.</summary>
    public required UnitIdentity Identity { get; init; }

    /// <summary>Keeps what outlives the process; null to forget it.</summary>
    public IUnitStateStore? State { get; init; }

    /// <summary>Limits.</summary>
    public UserRingOptions Ring { get; init; } = new();
}

/// <summary>Where a device of a LunKit target stands.</summary>
/// <param name="Name">Its name, <c>tcm-user/HBA/NAME/SUBTYPE/PATH</c>.</param>
/// <param name="ProcessId">The handler process that has it; 0 for none.</param>
/// <param name="IsServed">Whether that process has said that it serves it.</param>
/// <param name="Commands">Commands that are with the handler, or wait for one.</param>
/// <param name="DataBytes">Shared memory that is in use.</param>
/// <param name="TimedOut">Commands that no handler completed in time, since the start.</param>
/// <param name="Broken">Rings that a handler broke, since the start.</param>
/// <param name="LastError">Why the last handler that opened it refused it, an error; none when none did.</param>
public sealed record UserDeviceStatus(string Name, int ProcessId, bool IsServed, int Commands, long DataBytes, long TimedOut, long Broken, Errno LastError)
{
    /// <summary>The same in words, if that handler said any.</summary>
    public string? LastReason { get; init; }

    /// <summary>Handlers that died with acknowledged writes which they had not flushed, since the start.</summary>
    public long Losses { get; init; }

    /// <summary>Whether its handler has said that what it acknowledges outlives its process.</summary>
    public bool SurvivesHandler { get; init; }
}

/// <summary>A device of a <see cref="HandlerListener"/>, whose lock guards it.</summary>
internal sealed class UserDevice(uint number, UserDeviceOptions options, UserRing ring, RingUnit unit)
{
    private readonly ulong _epoch = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
    private bool _wasServed;

    public uint Number => number;
    public UserRing Ring => ring;
    public RingUnit Unit => unit;
    public string Name => $"tcm-user/{options.Hba}/{options.Name}/{options.Config}";
    public long SizeBytes { get; set; } = options.SizeBytes;
    public bool WriteCache { get; set; } = true;

    /// <summary>Who has it, from the grant until the lease is over; the connection may have ended before.</summary>
    public HandlerConnection? Holder { get; set; }

    /// <summary>Who had it last.</summary>
    public HandlerConnection? LastHolder { get; set; }
    public bool IsServed
    {
        get;
        set
        {
            field = value;
            _wasServed |= value;
        }
    }

    /// <summary>Whether a handler has had what is behind it: one has said that it serves it, or served it, and was gone before that was read.</summary>
    public bool WasServed => _wasServed || ring.HasServed;
    public Errno LastError { get; set; }
    public string? LastReason { get; set; }

    /// <summary>Not offered before this (<see cref="Environment.TickCount64"/>).</summary>
    public long OfferAt { get; set; }
    public bool IsOffered { get; set; }

    /// <summary>When it had no handler any more, or was made (<see cref="Environment.TickCount64"/>).</summary>
    public long FreeSince { get; set; } = Environment.TickCount64;

    /// <summary>Whether the log has said that it waits for a handler.</summary>
    public bool IsMissed { get; set; }

    /// <summary>Waits for the holder's reply to a change.</summary>
    public TaskCompletionSource<DeviceReply>? Reply { get; set; }

    /// <summary>A change for whose reply nobody waits any more, though it is still to come: it must not be taken for the reply to the next. Null: there is none.</summary>
    public Action<UserDevice>? OverdueChange { get; set; }

    public DeviceDescription Snapshot => new(SizeBytes, options.BlockSize, BlockLimits.MaxTransferBytes, options.Identity.Serial, WriteCache) { WasServed = WasServed, StateWasKept = ring.StateWasKept, Epoch = _epoch };

    public UserDeviceStatus Status => new(Name, Holder?.Peer.ProcessId ?? 0, IsServed, ring.CommandCount, ring.DataBytesInUse, ring.TimedOutCount, ring.BrokenCount, LastError)
    {
        LastReason = LastReason, Losses = ring.LossCount, SurvivesHandler = ring.Survives,
    };
}
