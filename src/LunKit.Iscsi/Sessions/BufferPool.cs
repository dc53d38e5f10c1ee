namespace LunKit.Iscsi.Sessions;

/// <summary>
/// The large buffers of all connections of a server, kept when a connection has ended so that connections that come and go cost no
/// garbage of the pinned heap. Thread safe.
/// </summary>
internal sealed class BufferPool
{
    // Room for as many connections as begin or end at once; the rest is the garbage collector's.
    private const int KeptBuffers = 64, KeptChunks = 32;

    private readonly Lock _gate = new();
    private readonly Stack<ReceiveBuffer> _buffers = new();
    private readonly Stack<OutputQueue.Chunk> _chunks = new();

    public ReceiveBuffer RentBuffer()
    {
        lock (_gate)
            if (_buffers.TryPop(out var kept)) return kept;
        return new ReceiveBuffer(ReceiveBuffer.Size);
    }

    /// <summary>Takes back a buffer that nobody refers to any more.</summary>
    public void Return(ReceiveBuffer buffer)
    {
        if (buffer.Array.Length != ReceiveBuffer.Size) return;
        buffer.Reuse();
        lock (_gate)
            if (_buffers.Count < KeptBuffers) _buffers.Push(buffer);
    }

    public OutputQueue.Chunk RentChunk()
    {
        lock (_gate)
            if (_chunks.TryPop(out var kept)) return kept;
        return new OutputQueue.Chunk();
    }

    /// <summary>Takes back a chunk that nobody refers to any more.</summary>
    public void Return(OutputQueue.Chunk chunk)
    {
        if (!chunk.IsStandard) return;
        chunk.Reuse();
        lock (_gate)
            if (_chunks.Count < KeptChunks) _chunks.Push(chunk);
    }
}
