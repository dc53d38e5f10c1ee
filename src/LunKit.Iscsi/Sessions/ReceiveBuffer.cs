namespace LunKit.Iscsi.Sessions;

/// <summary>
/// The bytes that a connection received last. Commands that go on after their batch keep the buffer with <see cref="AddReference"/>,
/// for their data lies in it; the last of them may end after the connection, on another thread.
/// </summary>
internal sealed class ReceiveBuffer(int size)
{
    /// <summary>Enough for a batch of 4 KiB writes; longer data segments are received where they belong.</summary>
    public const int Size = 256 * 1024;

    /// <summary>
    /// Enough for a login request (RFC 7143 13.12: 8192 bytes of data), before a connection has proven that it is worth more.
    /// </summary>
    public const int LoginSize = 16 * 1024;

    private int _references = 1;

    public byte[] Array { get; } = GC.AllocateUninitializedArray<byte>(size, pinned: size == Size);

    public bool IsShared => Volatile.Read(ref _references) > 1;

    public void AddReference() => Interlocked.Increment(ref _references);

    /// <summary>Gives up one reference; true when it was the last.</summary>
    public bool Release() => Interlocked.Decrement(ref _references) == 0;

    public void Reuse() => _references = 1;
}
