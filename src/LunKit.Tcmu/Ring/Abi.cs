using System.Runtime.InteropServices;

namespace LunKit.Tcmu.Ring;

// The shared memory of linux/target_core_user.h, mailbox version 2, as a 64-bit process sees it: C structs in the byte order of the
// host. All that is shared is addressed by offsets from the start of the region, never by pointers. The test AbiTests holds every size
// and offset against the C header.

/// <summary>What the producer of a ring can do beyond the first version (mailbox flags).</summary>
[Flags]
public enum MailboxFlags : ushort
{
    /// <summary>Commands may be completed in another order than they came.</summary>
    OutOfOrderCompletion = 1,
    /// <summary>A completion may say how many bytes were read.</summary>
    ReadLength = 2,
    /// <summary>Task management functions are told by TMR entries.</summary>
    TaskManagement = 4,
    /// <summary>A completion may keep its data buffers.</summary>
    KeepBuffers = 8,
    /// <summary>LunKit's own: commands say where they come from (<see cref="CommandOriginAbi"/>).</summary>
    Origin = 0x4000,
    /// <summary>LunKit's own: both sides say whether they need a doorbell (<see cref="Watch"/>).</summary>
    Watch = 0x8000,
}

/// <summary>What an entry of the ring is: the low three bits of its length field.</summary>
public enum RingOpcode
{
    /// <summary>Nothing, to the end of the ring.</summary>
    Pad = 0,
    /// <summary>A SCSI command.</summary>
    Command = 1,
    /// <summary>A task management function that was carried out.</summary>
    TaskManagement = 2,
}

/// <summary>What a completion says about itself (uflags of the entry header).</summary>
[Flags]
internal enum CompletionFlags : byte
{
    None = 0,
    UnknownOpcode = 1,
    ReadLength = 2,
    KeepBuffers = 4,
}

/// <summary>
/// Whether a side of the ring sees what the other publishes by itself. LunKit's own, where <see cref="MailboxFlags.Watch"/> is set; a side that
/// does not know it leaves 0.
/// </summary>
internal enum Watch : uint
{
    /// <summary>It says nothing: ring for everything.</summary>
    Unknown = 0,
    /// <summary>It sleeps, or is about to: ring.</summary>
    Sleeps = 1,
    /// <summary>It looks at the ring, and will once more before it sleeps: do not ring.</summary>
    Looks = 2,
    /// <summary>A consumer that has completed all that it had begun, has made it durable, and lets go.</summary>
    HasLeft = 3,
    /// <summary>The same, but its last flush has failed: what it has acknowledged may be lost.</summary>
    HasLeftUnflushed = 4,
}

/// <summary>Head of the shared region; the consumer's tail has a cache line of its own.</summary>
[StructLayout(LayoutKind.Explicit, Size = 128)]
internal struct MailboxAbi
{
    [FieldOffset(0)] public ushort Version;
    [FieldOffset(2)] public MailboxFlags Flags;
    [FieldOffset(4)] public uint RingOffset;
    [FieldOffset(8)] public uint RingSize;
    [FieldOffset(12)] public uint Head;

    /// <summary>Of the producer; a <see cref="Watch"/>, in what the kernel leaves empty.</summary>
    [FieldOffset(16)] public uint ProducerWatch;
    [FieldOffset(64)] public uint Tail;

    /// <summary>Of the consumer, likewise.</summary>
    [FieldOffset(72)] public uint ConsumerWatch;

    /// <summary>A <see cref="Survival"/>.</summary>
    [FieldOffset(76)] public uint ConsumerSurvival;
}

/// <summary>Head of every entry.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
internal struct EntryHeaderAbi
{
    /// <summary>Length in bytes, a multiple of 8, and the opcode in the low three bits.</summary>
    [FieldOffset(0)] public uint LengthAndOpcode;
    [FieldOffset(4)] public ushort CommandId;
    [FieldOffset(6)] public byte KernelFlags;
    [FieldOffset(7)] public CompletionFlags UserFlags;

    public const uint OpcodeMask = 7;
    public const int Alignment = 8;
}

/// <summary>A command, until it is answered in place by a <see cref="CommandResponseAbi"/>. The iovecs follow, then the CDB.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct CommandRequestAbi
{
    [FieldOffset(0)] public EntryHeaderAbi Header;
    [FieldOffset(8)] public uint IovecCount;
    [FieldOffset(12)] public uint BidirectionalIovecCount;
    [FieldOffset(16)] public uint ProtectionIovecCount;

    /// <summary>From the start of the region. The hole before it is the compiler's: only the outer struct is packed.</summary>
    [FieldOffset(24)] public ulong CdbOffset;
}

/// <summary>A piece of the data area.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct IovecAbi
{
    /// <summary>From the start of the region.</summary>
    [FieldOffset(0)] public ulong Base;
    [FieldOffset(8)] public ulong Length;
}

/// <summary>The answer to a command, over the request's bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 112)]
internal struct CommandResponseAbi
{
    [FieldOffset(0)] public EntryHeaderAbi Header;
    [FieldOffset(8)] public byte Status;
    [FieldOffset(12)] public uint ReadLength;

    /// <summary>Both in one word, on a machine whose low byte is first, as all that .NET runs on.</summary>
    [FieldOffset(8)] public ulong StatusAndReadLength;

    // 96 bytes of sense data.
    public const int SenseOffset = 16, SenseLength = 96;
}

/// <summary>A task management function. The ids of the commands that it ended follow, 16 bits each.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct TaskManagementAbi
{
    [FieldOffset(0)] public EntryHeaderAbi Header;
    [FieldOffset(8)] public byte Type;
    [FieldOffset(12)] public uint CommandCount;

    // Types of SAM-6 that occur.
    public const byte AbortTask = 1, LunReset = 5;

    /// <summary>LunKit's own: an initiator is gone. Instead of command ids its number follows (<see cref="CommandOriginAbi.Initiator"/>, 64 bits).</summary>
    public const byte NexusLost = 0xC0;
}

/// <summary>
/// LunKit's own, in a command where <see cref="MailboxFlags.Origin"/> is set: what the kernel does not tell a handler. It lies in the room that the
/// kernel's layout leaves between few iovecs and the CDB; where they leave too little it follows the CDB. A consumer that does not know the flag
/// takes no notice: it knows the CDB's place, and the entry's length covers all.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = Size)]
internal struct CommandOriginAbi
{
    public const int Size = 32;

    /// <summary>Where it is in an entry, from the end of the iovecs, the CDB's place and the CDB's length.</summary>
    public static int Place(int iovecsEnd, int cdbAt, int cdbLength) => cdbAt - iovecsEnd >= Size ? iovecsEnd : cdbAt + (cdbLength + 7 & ~7);

    /// <summary>The initiator port: a number that stays the same while its nexus lives.</summary>
    [FieldOffset(0)] public ulong Initiator;

    /// <summary>The initiator's tag of the command.</summary>
    [FieldOffset(8)] public ulong Tag;

    /// <summary>Relative target port identifier.</summary>
    [FieldOffset(16)] public ushort TargetPort;

    /// <summary>The LUN as an address of 16 bits.</summary>
    [FieldOffset(18)] public ushort Lun;

    /// <summary>SAM-6 8.9, with the numbers of RFC 7143 11.3.1: 1 simple, 2 ordered, 3 head of queue, 4 ACA; 0 untagged.</summary>
    [FieldOffset(20)] public byte Attribute;

    /// <summary>Bytes that the initiator has for the command (SAM-6 5.1), of which the entry's data may be only a part.</summary>
    [FieldOffset(24)] public uint DataOutBufferSize;

    /// <summary>
    /// Copies field by field. A copy of the whole in few wide loads would wait until the narrow stores that made <paramref name="from"/> have left
    /// the processor's store buffer, and with them all stores into the ring before.
    /// </summary>
    public void Set(in CommandOriginAbi from)
    {
        Initiator = from.Initiator;
        Tag = from.Tag;
        TargetPort = from.TargetPort;
        Lun = from.Lun;
        Attribute = from.Attribute;
        DataOutBufferSize = from.DataOutBufferSize;
    }
}
