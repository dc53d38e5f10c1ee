using LunKit.Tcmu.Kernel;

namespace LunKit.Tcmu;

/// <summary>
/// Where devices come from, and where the replies to their events go. Its thread tells <see cref="HandledDevices"/> what happens. Disposal ends the
/// thread first; replies may be sent until it returns.
/// </summary>
internal interface IDeviceSource : IAsyncDisposable
{
    /// <summary>Begins to tell.</summary>
    void Start(HandledDevices devices);

    /// <summary>No more is told from here on.</summary>
    ValueTask StopAsync();

    /// <summary>Replies to an event: 0 or a negative errno. Any thread; never throws.</summary>
    void Reply(TcmuEvent e, int status);
}
