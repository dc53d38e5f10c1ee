namespace LunKit.Tcmu.Devices;

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
