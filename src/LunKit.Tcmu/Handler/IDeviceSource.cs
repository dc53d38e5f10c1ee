using LunKit.Tcmu.Kernel;

namespace LunKit.Tcmu;

/// <summary>
/// Where devices come from, and where the replies to their events go. Its thread tells <see cref="HandledDevices"/> what happens.
/// Disposal ends the thread first; replies may be sent until it returns.
/// </summary>
internal interface IDeviceSource : IAsyncDisposable
{
    /// <summary>Begins to tell.</summary>
    void Start(HandledDevices devices);

    /// <summary>No more is told from here on.</summary>
    ValueTask StopAsync();

    /// <summary>Replies to an event. Any thread; never throws.</summary>
    void Reply(TcmuEvent e, DeviceReply reply);

    /// <summary>The device of an event is another process's, which answers for it. Any thread; never throws.</summary>
    void LeaveToOthers(TcmuEvent e);
}

/// <summary>What a handler replies to an event of a device.</summary>
/// <param name="Status">0, or a negative errno.</param>
internal readonly record struct DeviceReply(int Status)
{
    /// <summary>Why not, for people; null when nobody said. The kernel has no place for it.</summary>
    public string? Reason { get; init; }

    /// <summary>Whether what the handler acknowledges outlives its process, however that ends. The kernel does not ask.</summary>
    public bool Survives { get; init; }

    public static implicit operator DeviceReply(int status) => new(status);
}
