using LunKit.LogicalUnits;

namespace LunKit.Tcmu.Devices;

/// <summary>
/// A device that a handler may serve, as whoever has made it shows it: the kernel, or LunKit's own target. Disposed when it is served no more.
/// </summary>
internal interface IDeviceAccess : IDisposable
{
    /// <summary>What it is.</summary>
    TcmuDeviceName Name { get; }

    /// <summary>Where it is, for messages.</summary>
    string Path { get; }

    /// <summary>
    /// Takes the device for this process, until it is disposed. False: another process has it, and nothing of it may be touched, nor answered for.
    /// Throws <see cref="IOException"/> when it cannot be opened.
    /// </summary>
    bool TryOwn();

    /// <summary>Size, blocks and names, as initiators see them. Throws <see cref="IOException"/>.</summary>
    DeviceDescription ReadSnapshot();

    /// <summary>Reads the target port groups from whoever keeps them; null where nobody says. Throws <see cref="IOException"/>.</summary>
    Func<IReadOnlyList<AccessGroup>>? PortGroups { get; }

    /// <summary>Opens the ring; the caller disposes it.</summary>
    /// <param name="takesOver">
    /// Another process, or this one, may have served the ring before: its entries need not be the commands that are out.
    /// </param>
    /// <exception cref="IOException">It cannot be opened, or not once more.</exception>
    IRingTransport OpenRing(bool takesOver);

    /// <summary>The ring is served: what <see cref="OpenRing"/> has stopped goes on.</summary>
    void Admit(bool takesOver);

    /// <summary>The unit keeps its size. Where whoever asks for another does not wait for the answer, that is put right.</summary>
    Task KeepSizeAsync(long sizeBytes);
}
