namespace LunKit.Tcmu.Handler;

/// <summary>
/// Where devices come from. Its thread says to <see cref="HandledDevices"/> what happens to them, and it sends what that returns to whoever waits for it.
/// Disposal ends the thread first; answers may be sent until it returns.
/// </summary>
internal interface IDeviceSource : IAsyncDisposable
{
    /// <summary>Begins.</summary>
    void Start(HandledDevices devices);

    /// <summary>Nothing more is said from here on.</summary>
    ValueTask StopAsync();
}
