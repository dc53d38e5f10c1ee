namespace LunKit.Linux;

/// <summary>A SCSI device that takes commands one by one. Thread safe: each call waits for its own command.</summary>
public interface IScsiDevice : IDisposable
{
    /// <summary>Bytes that one command may move; null where nobody says.</summary>
    int? MaxTransferBytes { get; }

    /// <summary>Gives the device a command, and waits for it. Throws <see cref="LinuxException"/> when the kernel does not take it.</summary>
    /// <param name="cdb">At most <see cref="ScsiDevice.MaxCdbLength"/> bytes.</param>
    /// <param name="data">The data, in one piece; empty for none.</param>
    /// <param name="toDevice">Which way it goes.</param>
    /// <param name="sense">Room for sense data.</param>
    /// <param name="timeout">After this the kernel aborts the command.</param>
    ScsiDeviceResult Execute(ReadOnlySpan<byte> cdb, Span<byte> data, bool toDevice, Span<byte> sense, TimeSpan timeout);
}
