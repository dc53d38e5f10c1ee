using System.Runtime.Versioning;
using System.Threading.Channels;
using LunKit.Linux;

namespace LunKit.Backstores;

/// <summary>
/// A file that takes the records of a trace from a bounded queue, on a thread of its own: a caller that adds a record never waits for the file. Records that
/// find the queue full are dropped, and their number is written in their place. Thread safe.
/// </summary>
internal sealed class TraceFile : IAsyncDisposable
{
    /// <summary>What every trace begins with; a file that begins otherwise is none.</summary>
    public const string Mark = "{\"lunkit_trace\":1";

    /// <summary>Records that may wait for the file: a second of a fast disk, in a few megabytes.</summary>
    public const int MostQueued = 65536;

    // A file system that hangs longer than this loses the end of the trace.
    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(10);

    private readonly Stream _file;
    private readonly Channel<TraceRecord> _queue;
    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _dropped;
    private volatile string? _failure;

    /// <summary>Takes over an open file, and begins a trace at its end.</summary>
    /// <param name="file">The file, disposed with the trace.</param>
    /// <param name="header">The first line.</param>
    /// <param name="most">Records that may wait for it.</param>
    /// <exception cref="BackstoreException">No thread can be started.</exception>
    public TraceFile(Stream file, string header, int most = MostQueued)
    {
        _file = file;
        _queue = Channel.CreateBounded<TraceRecord>(new BoundedChannelOptions(most) { SingleReader = true });
        try
        {
            new Thread(() => Write(header), 256 * 1024) { IsBackground = true, Name = "lunkit-trace" }.Start();
        }
        catch (Exception e) when (FileWorkers.IsThreadShortage(e))
        {
            file.Dispose();
            throw new BackstoreException(BackstoreError.Busy, "filter trace: no thread can be started to write the file; raise the limit of tasks (ulimit -u, pids.max)", null, e);
        }
    }

    /// <summary>Opens a file for a trace: a new one, or one that has traces already, which stay.</summary>
    /// <exception cref="BackstoreException">It cannot be opened, or it is no trace.</exception>
    [SupportedOSPlatform("linux")]
    public static Stream Open(string path)
    {
        BackstoreException Refusal(string why, Exception? e = null) => new(BackstoreError.Internal, $"filter trace: {path} {why}", null, e);
        // The opening of a pipe would wait, and a device is no place for it.
        if (FileKinds.Of(path) is not (FileKind.None or FileKind.Regular)) throw Refusal("is no regular file; name a file that LunKit can create");
        FileStream? file = null;
        try
        {
            file = new(path, new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None, BufferSize = 64 * 1024,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
            if (file.Length == 0) return file;
            var begin = new byte[Mark.Length];
            if (file.ReadAtLeast(begin, begin.Length, throwOnEndOfStream: false) < begin.Length || !begin.AsSpan().SequenceEqual(System.Text.Encoding.ASCII.GetBytes(Mark)))
                throw Refusal("is a file that is no trace of LunKit; name another file");
            file.Seek(-1, SeekOrigin.End);
            // A process that was killed may have left half a line.
            if (file.ReadByte() != '\n') file.WriteByte((byte)'\n');
            return file;
        }
        catch (Exception e) when (e is BackstoreException or IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            if (e is BackstoreException) throw;
            throw Refusal($"cannot be opened: {FileErrors.Why(e)}", e);
        }
    }

    /// <summary>Why nothing is written any more; null while the file takes it.</summary>
    public string? Failure => _failure;

    /// <summary>Adds a record, or drops it. Never waits.</summary>
    public void Add(in TraceRecord record)
    {
        if (!_queue.Writer.TryWrite(record)) Interlocked.Increment(ref _dropped);
    }

    private void Write(string header)
    {
        var line = new byte[TraceRecord.MostBytes];
        try
        {
            _file.Write(System.Text.Encoding.UTF8.GetBytes(header));
            _file.Flush();
            // Blocks this thread, which does nothing else.
            while (_queue.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
            {
                while (_queue.Reader.TryRead(out var record))
                {
                    WriteDropped(line);
                    _file.Write(line, 0, record.Write(line));
                }
                // Nothing waits: what there is can be read now.
                WriteDropped(line);
                _file.Flush();
            }
            WriteDropped(line);
            _file.Dispose();
        }
        catch (Exception e)
        {
            _failure = FileErrors.Why(e);
            // Records are dropped from here on.
            _queue.Writer.TryComplete();
            Release();
        }
        _done.SetResult();
    }

    /// <summary>Closes a file that takes no more: what its buffer still has fails again.</summary>
    private void Release()
    {
        try
        {
            _file.Dispose();
        }
        catch (IOException)
        {
            // Known already.
        }
    }

    private void WriteDropped(byte[] line)
    {
        if (Volatile.Read(ref _dropped) == 0) return;
        _file.Write(line, 0, TraceRecord.WriteDropped(line, Interlocked.Exchange(ref _dropped, 0)));
    }

    /// <summary>Writes what is queued and closes the file; waits ten seconds for it at most. False when it is not complete.</summary>
    public async ValueTask<bool> CloseAsync()
    {
        _queue.Writer.TryComplete();
        try
        {
            await _done.Task.WaitAsync(s_closing).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            _failure ??= "its file system does not answer";
        }
        return _failure is null;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await CloseAsync().ConfigureAwait(false);
}
