namespace LunKit.Tcmu.Devices;

/// <summary>
/// What carries a ring: the shared region and the doorbells. One thread, the device's, uses it, except <see cref="Wake"/>. The device
/// disposes it.
/// </summary>
internal interface IRingTransport : IDisposable
{
    /// <summary>The shared region, mapped; valid until disposal.</summary>
    Memory<byte> Region { get; }

    /// <summary>Tells the producer that there are completions.</summary>
    void Notify();

    /// <summary>
    /// Waits until the producer has rung, <see cref="Wake"/> was called, or the time is over. Returns false when the producer is gone:
    /// nothing more will come. A time of -1 has no end.
    /// </summary>
    bool Wait(int timeoutMilliseconds);

    /// <summary>Ends a wait, or the next one. Any thread.</summary>
    void Wake();
}
