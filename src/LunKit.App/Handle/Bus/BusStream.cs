using System.Net.Sockets;

namespace LunKit.App.Handle.Bus;

/// <summary>
/// The bytes to and from the bus. The library queues answers without a limit; this stream reads no further calls while those that were read
/// wait for their answers, so a caller that floods, or a bus that does not take the answers, costs a bounded amount of memory.
/// </summary>
internal sealed class BusStream : Stream
{
    // With the limits one more read may come in, and one message may be larger than all of them.
    private const int MaxCalls = 64, MaxBytes = 1 << 20, ReadSize = 4096;

    private readonly NetworkStream _socket;
    private readonly Lock _gate = new();
    private readonly MessageFrames _in = new(), _out = new();
    private TaskCompletionSource? _room;
    private bool _messages, _closed;
    private long _bytes;
    private int _calls;

    /// <summary>Owns the socket.</summary>
    public BusStream(Socket socket) => _socket = new NetworkStream(socket, ownsSocket: true);

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int count;
        while ((count = Limit(out var room)) == 0) await room.WaitAsync(cancellationToken).ConfigureAwait(false);
        if (buffer.Length > count) buffer = buffer[..count];
        count = await _socket.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        CountCalls(buffer.Span[..count]);
        return count;
    }

    /// <summary>How many bytes may be read now; 0: wait for <paramref name="room"/>. A message that has begun is always read to its end.</summary>
    private int Limit(out Task room)
    {
        room = Task.CompletedTask;
        lock (_gate)
        {
            if (!IsFull || _closed) return ReadSize;
            if (_in.Remaining > 0) return (int)Math.Min(_in.Remaining, ReadSize);
            _room ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            room = _room.Task;
            return 0;
        }
    }

    private bool IsFull => _calls >= MaxCalls || (_calls > 0 && _bytes >= MaxBytes);

    private void CountCalls(ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            while (_messages && _in.TryNext(ref bytes))
            {
                if (!_in.ExpectsReply) continue;
                _calls++;
                _bytes += _in.Length;
            }
        }
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        // The last line of the authentication; messages follow.
        bool begin = !_messages && buffer.Span.SequenceEqual("BEGIN\r\n"u8);
        await _socket.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
        CountAnswers(buffer.Span);
        if (begin) lock (_gate) _messages = true;
    }

    private void CountAnswers(ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            while (_messages && _out.TryNext(ref bytes))
            {
                if (_out.Type is not (MessageFrames.MethodReturn or MessageFrames.Error) || _calls == 0) continue;
                if (--_calls == 0) _bytes = 0;
            }
            if (!IsFull) Release();
        }
    }

    private void Release()
    {
        _room?.TrySetResult();
        _room = null;
    }

    protected override void Dispose(bool disposing)
    {
        lock (_gate)
        {
            _closed = true;
            Release();
        }
        _socket.Dispose();
        base.Dispose(disposing);
    }

    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override void Flush() { }

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
