using System.Text;
using LunKit.Linux;

namespace LunKit.Tcmu.Devices;

/// <summary>
/// What goes over the socket between LunKit's target and its handlers, beside the messages of TCM-USER, in the same form: each is one
/// packet. A handler opens a device (as it would open its <c>/dev/uioN</c>) and is granted it, with four descriptors: memory, eventfd to
/// the handler, eventfd to the target, lease. docs/user-ring.md describes it for those who write a handler in another language.
/// </summary>
internal static class UserMessages
{
    /// <summary>Message type of all messages on the socket, which has no controller that gives numbers out.</summary>
    public const ushort Family = 0x4C4B;

    public const int MaxLength = 2048;

    private const byte Version = 2;

    /// <summary>Commands beside the kernel's 1 to 7.</summary>
    public enum Command : byte
    {
        /// <summary>Handler: wants to serve a device. Device number.</summary>
        Open = 0x40,
        /// <summary>Target: device number and status; if that is 0 what the device is, and descriptors with it.</summary>
        Grant = 0x41,
        /// <summary>Handler: a command that was completed with KEEP_BUF is done with. Device number, command id.</summary>
        FreeKept = 0x42,
    }

    // Attributes of TCM-USER that are used here too, and others.
    private const ushort Device = 1, DeviceSize = 5, WriteCache = 6, Status = 7, DeviceNumber = 8, RegionBytes = 0x40, BlockSize = 0x41, MaxTransfer = 0x42, Serial = 0x43,
        CommandId = 0x44, Reason = 0x46, WasServed = 0x47, StateWasKept = 0x48, Epoch = 0x49;

    // What a handler says of why it cannot serve a device, in bytes.
    private const int MaxReason = 400;

    private static NetlinkWriter Begin(Span<byte> buffer, Command command, uint device)
    {
        var writer = new NetlinkWriter(buffer, Family, 0, 0, (byte)command, Version);
        writer.Add(DeviceNumber, device);
        return writer;
    }

    public static byte[] Open(uint device) => Begin(stackalloc byte[64], Command.Open, device).Finish().ToArray();

    public static byte[] Refuse(uint device, Errno error)
    {
        var writer = Begin(stackalloc byte[64], Command.Grant, device);
        writer.Add(Status, (uint)error.Result);
        return writer.Finish().ToArray();
    }

    public static byte[] Grant(uint device, string name, int regionBytes, DeviceDescription snapshot)
    {
        var writer = Begin(stackalloc byte[MaxLength], Command.Grant, device);
        writer.Add(Status, 0u);
        writer.Add(Device, Encoding.UTF8.GetBytes(name + '\0'));
        writer.Add(RegionBytes, (ulong)regionBytes);
        writer.Add(DeviceSize, (ulong)snapshot.SizeBytes);
        writer.Add(BlockSize, (uint)snapshot.BlockSize);
        writer.Add(MaxTransfer, (uint)snapshot.MaxTransferBytes);
        writer.Add(Serial, Encoding.UTF8.GetBytes(snapshot.UnitSerial + '\0'));
        writer.Add(WriteCache, [snapshot.WriteCache ? (byte)1 : (byte)0]);
        if (snapshot.WasServed) writer.Add(WasServed, [1]);
        if (snapshot.StateWasKept) writer.Add(StateWasKept, [1]);
        writer.Add(Epoch, snapshot.Epoch);
        return writer.Finish().ToArray();
    }

    public static byte[] FreeKept(uint device, ushort command)
    {
        var writer = Begin(stackalloc byte[64], Command.FreeKept, device);
        writer.Add(CommandId, (uint)command);
        return writer.Finish().ToArray();
    }

    /// <summary>A handler's reply to an event: that of TCM-USER, and what the kernel has no place for.</summary>
    public static byte[] Done(uint sequence, TcmuEvent of, DeviceReply reply)
    {
        var writer = TcmuMessages.BeginDone(stackalloc byte[MaxLength], Family, sequence, of, reply.Error);
        if (reply.Reason is { } reason)
        {
            Span<byte> text = stackalloc byte[MaxReason];
            Encoding.UTF8.TryGetBytes(reason.AsSpan(0, Math.Min(reason.Length, MaxReason / 3)), text, out int length);
            writer.Add(Reason, text[..length]);
        }
        return writer.Finish().ToArray();
    }

    /// <summary>
    /// A handler's reply to an event of a device; null when the message is none. The reason is a text of one line, whatever the handler
    /// sent.
    /// </summary>
    public static (TcmuEventKind Kind, uint DeviceId, DeviceReply Reply)? ParseDone(NetlinkMessage message)
    {
        if (TcmuMessages.ParseDone(message, Family) is not { } done) return null;
        var reply = new DeviceReply(done.Error);
        for (var attribute = message.Payload; attribute.Next();)
        {
            if (attribute.Type == Reason && attribute.Value.Length <= MaxReason) reply = reply with { Reason = OneLine(attribute.Text) };
        }
        return (done.Kind, done.DeviceId, reply);
    }

    private static string OneLine(string text) => string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c));

    /// <summary>A message of these; null when it is none.</summary>
    public static UserMessage? Parse(NetlinkMessage message)
    {
        if (message.Type != Family || !Enum.IsDefined((Command)message.Command)) return null;
        var found = new UserMessage((Command)message.Command);
        for (var attribute = message.Payload; attribute.Next();)
        {
            found = attribute.Type switch
            {
                DeviceNumber => found with { DeviceId = attribute.UInt32 },
                Status => found with { Error = TcmuMessages.ErrorOf(attribute.UInt32) },
                Device => found with { Name = attribute.Text },
                RegionBytes => found with { RegionBytes = attribute.UInt64 },
                DeviceSize => found with { SizeBytes = attribute.UInt64 },
                BlockSize => found with { BlockSize = attribute.UInt32 },
                MaxTransfer => found with { MaxTransferBytes = attribute.UInt32 },
                Serial => found with { Serial = attribute.Text },
                WriteCache => found with { WriteCache = attribute.Byte != 0 },
                WasServed => found with { WasServed = attribute.Byte != 0 },
                StateWasKept => found with { StateWasKept = attribute.Byte != 0 },
                Epoch => found with { Epoch = attribute.UInt64 },
                CommandId => found with { CommandId = attribute.UInt32 },
                _ => found,
            };
        }
        return found;
    }
}

/// <summary>A message of <see cref="UserMessages"/>; what it does not say is 0.</summary>
internal sealed record UserMessage(UserMessages.Command Command)
{
    public uint DeviceId { get; init; }
    public Errno Error { get; init; }
    public string Name { get; init; } = "";
    public ulong RegionBytes { get; init; }
    public ulong SizeBytes { get; init; }
    public uint BlockSize { get; init; }
    public uint MaxTransferBytes { get; init; }
    public string Serial { get; init; } = "";
    public bool WriteCache { get; init; }
    public bool WasServed { get; init; }
    public bool StateWasKept { get; init; }
    public ulong Epoch { get; init; }
    public uint CommandId { get; init; }
}
