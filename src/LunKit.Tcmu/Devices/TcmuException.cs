namespace LunKit.Tcmu.Devices;

/// <summary>Why TCMU cannot be used here, and what to do about it.</summary>
public sealed class TcmuException(string message, Exception? inner = null) : IOException(message, inner);
