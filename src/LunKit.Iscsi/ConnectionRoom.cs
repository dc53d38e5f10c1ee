using LunKit.Linux;

namespace LunKit.Iscsi;

/// <summary>
/// Whether the process can afford one more connection. The last descriptors and threads are for those that are there, and for the runtime, which
/// ends the process when it cannot start a thread of its own. Thread safe.
/// </summary>
/// <param name="descriptors">Descriptors are numbers below this; the system gives out the lowest that is free.</param>
/// <param name="spareThreads">Threads that may still be started; null when there is no limit.</param>
internal sealed class ConnectionRoom(int descriptors, Func<int?> spareThreads)
{
    public const int ReservedDescriptors = 64, ReservedThreads = 16;

    /// <summary>That of this process, by the limits that are in force now.</summary>
    public static ConnectionRoom OfProcess()
    {
        var room = new ProcessRoom();
        return new(room.Descriptors, room.SpareThreads);
    }

    /// <summary>What is too short for a connection with this descriptor; null when nothing is.</summary>
    public string? Shortage(long descriptor)
    {
        if (descriptor >= descriptors - ReservedDescriptors) return $"{descriptors} descriptors are the limit (ulimit -n), and few are left";
        return spareThreads() is { } spare and < ReservedThreads ? $"the control group allows {spare} more threads (pids.max)" : null;
    }
}
