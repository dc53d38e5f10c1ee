using System.Buffers;
using LunKit.Linux;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// What a connection has to send, in order, in few large contiguous pieces: commands write their headers and read their data
/// straight into it. Only the connection's thread uses it.
/// </summary>
internal sealed class OutputQueue
{
    /// <summary>One send per this many bytes when there is that much.</summary>
    public const int ChunkBytes = 512 * 1024;

    /// <summary>A piece of memory with bytes to send; alive while the queue or a command refers to it.</summary>
    internal sealed class Chunk
    {
        private readonly bool _rented;
        private readonly MemoryAccount? _account;
        private int _references = 1;

        /// <summary>A chunk of the queue's own size, or one rented for a single long answer, on the account of its connection.</summary>
        public Chunk(int size, MemoryAccount? account = null)
        {
            _account = account;
            _rented = account is not null || size > ChunkBytes;
            account?.Charge(size);
            Size = size;
            Array = _rented ? ArrayPool<byte>.Shared.Rent(size) : GC.AllocateUninitializedArray<byte>(ChunkBytes, pinned: true);
        }

        public byte[] Array { get; }
        private int Size { get; }
        public bool IsStandard => !_rented;
        public void AddReference() => _references++;
        public bool Release() => --_references == 0;
        public void Reuse() => _references = 1;

        public void Free()
        {
            _account?.Refund(Size);
            if (_rented) ArrayPool<byte>.Shared.Return(Array);
        }
    }

    /// <summary>Bytes to send, in a chunk of the queue's or lent by a unit; <see cref="Owner"/> is told when they, and all before them, are sent.</summary>
    private readonly record struct Piece(Chunk? Chunk, ReadOnlyMemory<byte> Bytes, IDisposable? Owner);

    private const int KeptChunks = 4;
    private readonly Queue<Piece> _pieces = new();
    private readonly Stack<Chunk> _free = new();
    private Chunk _current = new(ChunkBytes);
    private int _start;
    private int _used;
    private int _sentOfFirst;

    /// <summary>Bytes that wait to be sent.</summary>
    public int Pending { get; private set; }

    public Chunk Current => _current;

    /// <summary>Takes <paramref name="length"/> contiguous bytes at the end of the queue; returns their offset in <see cref="Current"/>.</summary>
    public int Reserve(int length)
    {
        if (_used + length > _current.Array.Length) Replace(length);
        int at = _used;
        _used += length;
        Pending += length;
        return at;
    }

    public Span<byte> Append(int length)
    {
        int at = Reserve(length);
        return _current.Array.AsSpan(at, length);
    }

    /// <summary>Gives back the bytes from <paramref name="offset"/> on, which were reserved last.</summary>
    public void Unreserve(int offset)
    {
        Pending -= _used - offset;
        _used = offset;
    }

    /// <summary>
    /// Takes the bytes from <paramref name="offset"/> on, reserved last, out of the queue for a command that is not done. The command
    /// owns a reference of the returned chunk.
    /// </summary>
    public Chunk Detach(int offset)
    {
        var chunk = _current;
        Unreserve(offset);
        chunk.AddReference();
        Replace(0);
        return chunk;
    }

    /// <summary>Queues bytes of a chunk whose reference the caller hands over.</summary>
    public void Append(Chunk chunk, int start, int end)
    {
        Seal();
        _pieces.Enqueue(new(chunk, chunk.Array.AsMemory(start, end - start), null));
        Pending += end - start;
    }

    /// <summary>Queues bytes that stay where they are; who lent them is named by <see cref="ReleaseWhenSent"/> afterwards.</summary>
    public void AppendLent(ReadOnlyMemory<byte> bytes)
    {
        Seal();
        _pieces.Enqueue(new(null, bytes, null));
        Pending += bytes.Length;
    }

    /// <summary>Disposes <paramref name="owner"/> when all that is queued now was sent, or is discarded.</summary>
    public void ReleaseWhenSent(IDisposable owner)
    {
        Seal();
        _pieces.Enqueue(new(null, default, owner));
    }

    /// <summary>Sends as much as the socket takes; true when all is sent.</summary>
    public bool Flush(StreamSocket socket)
    {
        while (Pending > 0)
        {
            if (_pieces.TryPeek(out var piece))
            {
                if (!Send(socket, piece.Bytes.Span[_sentOfFirst..], out int sent))
                {
                    _sentOfFirst += sent;
                    return false;
                }
                _sentOfFirst = 0;
                Drop(_pieces.Dequeue());
                continue;
            }
            bool all = Send(socket, _current.Array.AsSpan(_start, _used - _start), out int count);
            _start += count;
            if (!all) return false;
        }
        // What is left has no bytes.
        while (_pieces.TryDequeue(out var last)) Drop(last);
        _start = _used = 0;
        return true;
    }

    private bool Send(StreamSocket socket, ReadOnlySpan<byte> bytes, out int sent)
    {
        sent = 0;
        while (sent < bytes.Length)
        {
            // More follows at once: a header does not travel alone.
            int n = socket.Send(bytes[sent..], more: Pending > bytes.Length - sent);
            if (n < 0) return false;
            sent += n;
            Pending -= n;
        }
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
        _current = length <= ChunkBytes && _free.TryPop(out var kept) ? kept : new Chunk(length);
        _start = _used = 0;
    }

    /// <summary>Drops everything: nobody will read it.</summary>
    public void Discard()
    {
        while (_pieces.TryDequeue(out var piece)) Drop(piece);
        _start = _used = _sentOfFirst = Pending = 0;
    }

    /// <summary>Gives up one reference of a chunk.</summary>
    public void Return(Chunk chunk)
    {
        if (!chunk.Release()) return;
        if (!chunk.IsStandard || _free.Count >= KeptChunks)
        {
            chunk.Free();
            return;
        }
        chunk.Reuse();
        _free.Push(chunk);
    }
}
