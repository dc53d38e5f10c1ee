namespace LunKit.Tcmu.Devices;

/// <summary>Where a device stands.</summary>
public enum TcmuDeviceState
{
    /// <summary>Its backstore is being opened.</summary>
    Connecting,
    /// <summary>Its commands are answered.</summary>
    Serving,
    /// <summary>It could not be opened, or its ring could not be taken up again.</summary>
    Failed,
    /// <summary>It is gone, or let go.</summary>
    Closed,
    /// <summary>Another process has it. It is looked at again now and then, and taken over when that process is gone.</summary>
    Elsewhere,
}

/// <summary>A device of a handler.</summary>
/// <param name="Hba">HBA of its folder in configfs, <c>user_HBA</c>.</param>
/// <param name="Name">Name of its folder.</param>
/// <param name="State">Where it stands.</param>
/// <param name="Error">Why it failed.</param>
public sealed record TcmuDeviceStatus(int Hba, string Name, TcmuDeviceState State, string? Error);
