using System.Buffers;
using LunKit.Fabrics;
using LunKit.Linux;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// What a connection has to send, in order, in few large contiguous pieces: commands write their headers and read their data
/// straight into it. Only the connection's thread uses it.
/// </summary>
internal sealed class OutputQueue(BufferPool pool)
{
    /// <summary>One send per this many bytes when there is that much.</summary>
    public const int ChunkBytes = 512 * 1024;

    /// <summary>Enough for the answers of a login, before a connection has proven that it is worth more.</summary>
    public const int LoginBytes = 16 * 1024;

    /// <summary>A piece of memory with bytes to send; alive while the queue or a command refers to it.</summary>
    internal sealed class Chunk
    {
        private readonly MemoryAccount? _account;
        private readonly int _size;
        private int _references = 1;

        /// <summary>A chunk of the queue's own size, which a pool keeps.</summary>
        public Chunk()
        {
            Array = GC.AllocateUninitializedArray<byte>(ChunkBytes, pinned: true);
            IsStandard = true;
        }

        /// <summary>A chunk for a single long answer, on the account of its connection, or for a login, on nobody's.</summary>
        public Chunk(int size, MemoryAccount? account)
        {
            Array = ArrayPool<byte>.Shared.Rent(size);
            _size = size;
            _account = account;
            account?.Charge(size);
        }

        public byte[] Array { get; }
        public bool IsStandard { get; }

        // Any thread: tasks that outlive their connection give theirs back on the thread that ends them.
        public void AddReference() => Interlocked.Increment(ref _references);
        public bool Release() => Interlocked.Decrement(ref _references) == 0;
        public bool IsShared => Volatile.Read(ref _references) > 1;
        public void Reuse() => _references = 1;

        public void Free()
        {
            _account?.Refund(_size);
            if (!IsStandard) ArrayPool<byte>.Shared.Return(Array);
        }
    }

    /// <summary>
    /// Bytes to send, in a chunk of the queue's or lent by a unit; <see cref="Owner"/> is told when they, and all before them, are
    /// sent.
    /// </summary>
    private readonly record struct Piece(Chunk? Chunk, ReadOnlyMemory<byte> Bytes, IDisposable? Owner);

    private const int KeptChunks = 4;
    private readonly ReadOnlyMemory<byte>[] _gather = new ReadOnlyMemory<byte>[IByteStream.MaxPieces];
    private readonly Queue<Piece> _pieces = new();
    private readonly Stack<Chunk> _free = new();
    private Chunk _current = new(LoginBytes, null);
    private int _start;
    private int _used;
    private int _sentOfFirst;
    private long _queued;
    private long _sent;
    private bool _small = true;
    private bool _closed;

    /// <summary>Bytes that wait to be sent.</summary>
    public int Pending => (int)(_queued - _sent);

    /// <summary>Bytes that were queued so far. Any thread.</summary>
    public long Queued => Volatile.Read(ref _queued);

    /// <summary>
    /// Whether the socket has, or nobody will get, what was queued when <see cref="Queued"/> was <paramref name="mark"/>. Any thread.
    /// </summary>
    public bool HasSent(long mark) => Volatile.Read(ref _sent) is var sent && (sent >= mark || sent == Queued);

    /// <summary>From here on chunks have their full size.</summary>
    public void Grow()
    {
        _small = false;
        Replace(0);
    }

    public Chunk Current => _current;

    /// <summary>
    /// Takes <paramref name="length"/> contiguous bytes at the end of the queue; returns their offset in <see cref="Current"/>.
    /// </summary>
    public int Reserve(int length)
    {
        if (_used + length > _current.Array.Length) Replace(length);
        int at = _used;
        _used += length;
        Add(length);
        return at;
    }

    // Others read both counts, to know what has left.
    private void Add(int bytes) => Volatile.Write(ref _queued, _queued + bytes);

    private void Count(int sent) => Volatile.Write(ref _sent, _sent + sent);

    public Span<byte> Append(int length)
    {
        int at = Reserve(length);
        return _current.Array.AsSpan(at, length);
    }

    /// <summary>Gives back the bytes from <paramref name="offset"/> on, which were reserved last.</summary>
    public void Unreserve(int offset)
    {
        Add(offset - _used);
        _used = offset;
    }

    /// <summary>
    /// Takes the bytes from <paramref name="offset"/> on, reserved last, out of the queue for a command that is not done, which owns a
    /// reference of the current chunk from here on. What is queued afterwards follows them in the same chunk.
    /// </summary>
    public void Detach(int offset)
    {
        // First, whatever fails below: the command writes into the chunk.
        _current.AddReference();
        int end = _used;
        Unreserve(offset);
        Seal();
        _start = _used = end;
    }

    /// <summary>Queues bytes of a chunk whose reference the caller hands over.</summary>
    public void Append(Chunk chunk, int start, int end)
    {
        Seal();
        _pieces.Enqueue(new(chunk, chunk.Array.AsMemory(start, end - start), null));
        Add(end - start);
    }

    /// <summary>Queues bytes that stay where they are; who lent them is named by <see cref="ReleaseWhenSent"/> afterwards.</summary>
    public void AppendLent(ReadOnlyMemory<byte> bytes)
    {
        Seal();
        _pieces.Enqueue(new(null, bytes, null));
        Add(bytes.Length);
    }

    /// <summary>Disposes <paramref name="owner"/> when all that is queued now was sent, or is discarded.</summary>
    public void ReleaseWhenSent(IDisposable owner)
    {
        Seal();
        _pieces.Enqueue(new(null, default, owner));
    }

    /// <summary>Sends as much as the socket takes; true when all is sent.</summary>
    public bool Flush(IByteStream stream)
    {
        while (_pieces.Count > 0)
        {
            Seal();
            if (!SendPieces(stream)) return false;
        }
        while (_start < _used)
        {
            int sent = stream.Send(_current.Array.AsSpan(_start, _used - _start));
            if (sent < 0) return false;
            _start += sent;
            Count(sent);
        }
        // Where commands have parts of it, the rest of the chunk is used first.
        if (!_current.IsShared) _start = _used = 0;
        return true;
    }

    /// <summary>Sends some pieces with one call, in order, and drops those that are sent; false when the socket takes no more.</summary>
    private bool SendPieces(IByteStream stream)
    {
        int count = 0, length = 0, skip = _sentOfFirst;
        foreach (var piece in _pieces)
        {
            // More than a socket takes at once is not worth collecting.
            if (count == _gather.Length || length >= ChunkBytes) break;
            if (piece.Bytes.IsEmpty) continue;
            _gather[count++] = piece.Bytes[skip..];
            length += piece.Bytes.Length - skip;
            skip = 0;
        }
        int sent = length == 0 ? 0 : stream.Send(_gather.AsSpan(0, count), more: Pending > length);
        Array.Clear(_gather, 0, count);
        if (sent < 0) return false;
        Count(sent);
        sent += _sentOfFirst;
        while (_pieces.TryPeek(out var first) && first.Bytes.Length <= sent)
        {
            sent -= first.Bytes.Length;
            Drop(_pieces.Dequeue());
        }
        _sentOfFirst = sent;
        return true;
    }

    private void Drop(Piece piece)
    {
        if (piece.Chunk is { } chunk) Return(chunk);
        piece.Owner?.Dispose();
    }

    private void Seal()
    {
        if (_used == _start) return;
        _current.AddReference();
        _pieces.Enqueue(new(_current, _current.Array.AsMemory(_start, _used - _start), null));
        _start = _used;
    }

    private void Replace(int length)
    {
        Seal();
        Return(_current);
        _current = length > ChunkBytes ? new Chunk(length, null)
            : _small ? new Chunk(Math.Max(length, LoginBytes), null)
            : _free.TryPop(out var kept) ? kept : pool.RentChunk();
        _start = _used = 0;
    }

    /// <summary>
    /// Drops everything: nobody will read it. Where commands that live on have parts of the current chunk, only the rest of it is
    /// used.
    /// </summary>
    public void Discard()
    {
        while (_pieces.TryDequeue(out var piece)) Drop(piece);
        _start = _current.IsShared ? _used : 0;
        _used = _start;
        _sentOfFirst = 0;
        Volatile.Write(ref _sent, _queued);
    }

    /// <summary>The connection has ended: all chunks go back to the pool, those that commands have when these return them.</summary>
    public void Close()
    {
        Discard();
        _closed = true;
        Return(_current);
        while (_free.TryPop(out var chunk)) pool.Return(chunk);
    }

    /// <summary>Gives up one reference of a chunk. Any thread when the queue is closed, else the connection's.</summary>
    public void Return(Chunk chunk)
    {
        if (!chunk.Release()) return;
        if (!chunk.IsStandard)
        {
            chunk.Free();
        }
        else if (_closed || _free.Count >= KeptChunks)
        {
            pool.Return(chunk);
        }
        else
        {
            chunk.Reuse();
            _free.Push(chunk);
        }
    }
}
