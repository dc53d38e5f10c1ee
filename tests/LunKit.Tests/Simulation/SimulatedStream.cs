using LunKit.Linux;

namespace LunKit.Tests.Simulation;

/// <summary>How a connection of a <see cref="SimulatedStream"/> dies.</summary>
internal enum StreamDeath
{
    /// <summary>Both ends hear of it; what is on its way is lost.</summary>
    Reset,

    /// <summary>The initiator closes its end: what is on its way still arrives at the target.</summary>
    Orderly,

    /// <summary>The initiator has crashed: what is on its way still arrives at the target, which hears of nothing.</summary>
    Abandoned,

    /// <summary>The network is gone: nothing arrives any more, and nobody hears of it.</summary>
    Silent,
}

/// <summary>
/// One direction of a stream: a bounded number of bytes, which arrive late and in pieces that nobody chose. Knows when each byte was sent.
/// </summary>
internal sealed class SimulatedPipe(SimulatedWorld world, int capacity, int slowest)
{
    private readonly byte[] _bytes = new byte[capacity];
    private readonly Queue<(long End, long Tick)> _sent = new();
    private long _written, _arrived, _read;
    private bool _moves;

    /// <summary>Bytes have arrived.</summary>
    public Action? Readable { get; set; }

    /// <summary>There is room again.</summary>
    public Action? Writable { get; set; }

    /// <summary>After so many bytes the connection dies.</summary>
    public long DiesAt { get; set; } = long.MaxValue;

    public Action? Dies { get; set; }

    /// <summary>Milliseconds that bytes are on their way at most.</summary>
    public int Slowest { get; set; } = slowest;

    /// <summary>Nothing arrives any more.</summary>
    public bool IsCut { get; set; }

    public int Available => (int)(_arrived - _read);
    public int Room => (int)Math.Min(capacity - (_written - _read), DiesAt - _written);
    public bool IsDrained => _written == _read;
    public long Written => _written;

    /// <summary>How many bytes have been read.</summary>
    public long Position => _read;

    public string Describe() => $"{_read} of {_arrived} of {_written} bytes read";

    /// <summary>Takes what fits, or less.</summary>
    public int Write(ReadOnlySpan<byte> bytes, long tick)
    {
        int count = Math.Min(bytes.Length, Room);
        if (count > 1 && world.Chance(0.1)) count = world.Between(1, count);
        if (count <= 0) return 0;
        int at = (int)(_written % capacity), first = Math.Min(count, capacity - at);
        bytes[..first].CopyTo(_bytes.AsSpan(at));
        bytes[first..count].CopyTo(_bytes);
        _written += count;
        _sent.Enqueue((_written, tick));
        world.Mix(count);
        if (_written >= DiesAt) world.Soon(() => Dies?.Invoke());
        Move();
        return count;
    }

    public int Read(Span<byte> bytes)
    {
        int count = Math.Min(bytes.Length, Available);
        if (count > 1 && world.Chance(0.1)) count = world.Between(1, count);
        if (count <= 0) return 0;
        int at = (int)(_read % capacity), first = Math.Min(count, capacity - at);
        _bytes.AsSpan(at, first).CopyTo(bytes);
        _bytes.AsSpan(0, count - first).CopyTo(bytes[first..]);
        // Memory of the stream is nobody's place to look later.
        bool wasFull = Room == 0;
        _read += count;
        if (wasFull) Writable?.Invoke();
        return count;
    }

    /// <summary>When the byte before a position was sent. Positions are asked for in their order.</summary>
    public long SentAt(long end)
    {
        while (_sent.Count > 1 && _sent.Peek().End < end) _sent.Dequeue();
        return _sent.Peek().Tick;
    }

    private void Move()
    {
        if (_moves || IsCut || _arrived == _written) return;
        _moves = true;
        if (Slowest == 0 || world.Chance(0.6)) world.Soon(Arrive);
        else world.After(TimeSpan.FromMilliseconds(world.Between(0, Slowest)), Arrive);
    }

    private void Arrive()
    {
        _moves = false;
        if (IsCut) return;
        long count = _written - _arrived;
        if (count > 1 && world.Chance(0.3)) count = world.Between(1, (int)count);
        _arrived += count;
        Move();
        Readable?.Invoke();
    }
}

/// <summary>
/// The end of a connection that the target has, in a <see cref="SimulatedWorld"/>: bounded in both directions, slow, cut into pieces at
/// any byte,
/// and dead at any byte. <see cref="ToTarget"/> and <see cref="ToInitiator"/> are the initiator's.
/// </summary>
internal sealed class SimulatedStream : IByteStream
{
    private readonly WireClock _clock;
    private bool _isReset, _isFinished, _isClosed, _isDisposed;

    public SimulatedStream(SimulatedWorld world, WireClock clock, int capacity, int slowest)
    {
        _clock = clock;
        ToTarget = new SimulatedPipe(world, capacity, slowest);
        ToInitiator = new SimulatedPipe(world, capacity, slowest);
    }

    public SimulatedPipe ToTarget { get; }
    public SimulatedPipe ToInitiator { get; }

    /// <summary>Somebody wants the connection to look around.</summary>
    public Action? Signalled { get; set; }

    /// <summary>Something of the initiator's end has changed besides bytes.</summary>
    public Action? Changed { get; set; }

    public bool IsReset => _isReset;

    /// <summary>The target sends nothing more.</summary>
    public bool TargetHasClosed => _isClosed;

    /// <summary>Whether a wait for input would end.</summary>
    public bool IsReadable => _isReset || ToTarget.Available > 0 || _isFinished && ToTarget.IsDrained;

    public bool IsWritable => _isReset || _isFinished || ToInitiator.Room > 0;

    public void Die(StreamDeath death)
    {
        switch (death)
        {
            case StreamDeath.Reset:
                _isReset = true;
                ToTarget.IsCut = ToInitiator.IsCut = true;
                break;
            case StreamDeath.Orderly:
                _isFinished = true;
                break;
            case StreamDeath.Abandoned:
                break;
            default:
                ToTarget.IsCut = ToInitiator.IsCut = true;
                break;
        }
        if (death is StreamDeath.Silent or StreamDeath.Abandoned) return;
        ToTarget.Readable?.Invoke();
        Changed?.Invoke();
    }

    public bool PeerHasClosed => _isReset || _isFinished || _isClosed;

    public int Available => ToTarget.Available;

    public int Receive(Span<byte> buffer)
    {
        if (_isReset) throw new IOException("connection reset");
        int count = ToTarget.Read(buffer);
        return count > 0 ? count : _isFinished && ToTarget.IsDrained ? 0 : -1;
    }

    public int Receive(Span<byte> first, Span<byte> second)
    {
        int one = Receive(first);
        if (one < first.Length || ToTarget.Available == 0 || second.IsEmpty) return one;
        return one + Math.Max(0, Receive(second));
    }

    public int Send(ReadOnlySpan<byte> buffer, bool more = false)
    {
        if (_isReset) throw new IOException("connection reset");
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        // Nobody reads it.
        if (_isFinished) return buffer.Length;
        int count = ToInitiator.Write(buffer, _clock.Tick());
        return count > 0 || buffer.IsEmpty ? count : -1;
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
        if (!_isDisposed) Signalled?.Invoke();
    }

    public void ShutdownSend() => Close();

    public void Close()
    {
        if (_isClosed) return;
        _isClosed = true;
        Changed?.Invoke();
    }

    public void Dispose()
    {
        Close();
        _isDisposed = true;
    }
}

/// <summary>Numbers what is sent and received, in the order in which it happens.</summary>
internal sealed class WireClock
{
    private long _ticks;

    public long Tick() => ++_ticks;
}
