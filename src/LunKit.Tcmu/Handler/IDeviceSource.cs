using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Handler;

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
