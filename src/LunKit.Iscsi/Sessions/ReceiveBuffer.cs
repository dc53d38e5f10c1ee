namespace LunKit.Iscsi.Sessions;

/// <summary>
/// The bytes that a connection received last. Commands that go on after their batch keep the buffer with <see cref="AddReference"/>,
/// for their data lies in it. Only the connection's thread counts references.
/// </summary>
internal sealed class ReceiveBuffer
{
    /// <summary>Enough for a batch of 4 KiB writes; longer data segments are received where they belong.</summary>
    public const int Size = 256 * 1024;

    private int _references = 1;

    public byte[] Array { get; } = GC.AllocateUninitializedArray<byte>(Size, pinned: true);

    public bool IsShared => _references > 1;

    public void AddReference() => _references++;

    /// <summary>Gives up one reference; true when it was the last.</summary>
    public bool Release() => --_references == 0;

    public void Reuse() => _references = 1;
}
