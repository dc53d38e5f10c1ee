using LunKit.Linux;

namespace LunKit.Tests.Iscsi;

/// <summary>
/// Two ends of a stream in memory, without threads: <see cref="Target"/> is what a connection gets, and the test is the initiator. At most
/// <paramref name="capacity"/> bytes wait in each direction.
/// </summary>
internal sealed class MemoryStreams(int capacity = int.MaxValue)
{
    private readonly Queue<byte> _toTarget = new(), _toInitiator = new();
    private bool _initiatorClosed, _targetClosed;

    public IByteStream Target => field ??= new End(this);

    public bool TargetHasClosed => _targetClosed;

    public int Waiting => _toInitiator.Count;

    /// <summary>Called when the connection receives: what happens at that very moment.</summary>
    public Action? Receiving { get; set; }

    /// <summary>Called when the connection closes its end.</summary>
    public Action? Closing { get; set; }

    public void Send(ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes) _toTarget.Enqueue(b);
    }

    public byte[] Receive(int most = int.MaxValue)
    {
        var bytes = new byte[Math.Min(most, _toInitiator.Count)];
        for (int i = 0; i < bytes.Length; i++) bytes[i] = _toInitiator.Dequeue();
        return bytes;
    }

    public void Close() => _initiatorClosed = true;

    private sealed class End(MemoryStreams streams) : IByteStream
    {
        public int Available => streams._toTarget.Count;

        public bool PeerHasClosed => streams._initiatorClosed || streams._targetClosed;

        public int Receive(Span<byte> buffer)
        {
            streams.Receiving?.Invoke();
            if (streams._toTarget.Count == 0) return streams._initiatorClosed ? 0 : -1;
            int count = Math.Min(buffer.Length, streams._toTarget.Count);
            for (int i = 0; i < count; i++) buffer[i] = streams._toTarget.Dequeue();
            return count;
        }

        public int Receive(Span<byte> first, Span<byte> second)
        {
            int one = Receive(first);
            if (one < first.Length || streams._toTarget.Count == 0 || second.IsEmpty) return one;
            return one + Receive(second);
        }

        public int Send(ReadOnlySpan<byte> buffer, bool more = false)
        {
            int count = Math.Min(buffer.Length, streams.Room);
            if (count == 0) return buffer.IsEmpty ? 0 : -1;
            foreach (byte b in buffer[..count]) streams._toInitiator.Enqueue(b);
            return count;
        }

        public int Send(ReadOnlySpan<ReadOnlyMemory<byte>> pieces, bool more)
        {
            int sent = 0;
            foreach (var piece in pieces)
            {
                int n = Send(piece.Span);
                if (n > 0) sent += n;
                if (n < piece.Length) return sent == 0 ? -1 : sent;
            }
            return sent;
        }

        public StreamReadiness Wait(bool read, bool write, int timeoutMilliseconds) => throw new InvalidOperationException("a step waits");

        public void Signal()
        {
        }

        public void ShutdownSend()
        {
        }

        public void Close()
        {
            streams.Closing?.Invoke();
            streams._targetClosed = true;
        }

        public void Dispose() => streams._targetClosed = true;
    }

    private int Room => capacity - _toInitiator.Count;
}
