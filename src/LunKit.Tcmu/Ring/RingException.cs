namespace LunKit.Tcmu.Ring;

/// <summary>What the other side wrote into the shared memory breaks the contract of the ring; nothing more is done with it.</summary>
public sealed class RingException(string message) : IOException(message);
