using LunKit.Linux;

namespace LunKit.Tcmu.Devices;

/// <summary>What a handler replies to an event of a device.</summary>
/// <param name="Error">Why it does not; none when it does.</param>
internal readonly record struct DeviceReply(Errno Error)
{
    /// <summary>Why not, for people; null when nobody said. The kernel has no place for it.</summary>
    public string? Reason { get; init; }

    /// <summary>The device says that nobody waits for replies (<c>nl_reply_supported</c> is -1): the kernel would complain of one.</summary>
    public bool IsUnasked { get; init; }

    /// <summary>It does as it was told.</summary>
    public static DeviceReply Done => new(Errno.None);
}
