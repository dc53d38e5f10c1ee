using System.Globalization;
using System.Runtime.Versioning;
using LunKit.Diagnostics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Backstores;

/// <summary>
/// Writes a line of JSON for each operation into a file: when it began, what it was, how long it took, how it ended. docs/filters.md describes the lines.
/// An operation never waits for the file: a bounded queue is between them, and what finds it full is dropped and counted in the file. A file that cannot
/// be written ends the trace, and nothing else. Thread safe.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class TraceFilter : OperationFilter
{
    private readonly SemaphoreSlim _changing = new(1, 1);
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly Func<string, Stream> _open;
    private readonly int _mostQueued;
    private volatile Trace? _trace;

    private sealed record Trace(string Path, TraceFile File, long Began)
    {
        public int HasWarned;
    }

    /// <summary>Takes over <paramref name="inner"/>.</summary>
    /// <param name="inner">The inner backstore.</param>
    /// <param name="path">The file, which is created, or continued where it is a trace already; null for none.</param>
    /// <param name="log">Receives a warning if the file cannot be written.</param>
    /// <param name="time">Clock; null for the system's.</param>
    /// <exception cref="BackstoreException">The file cannot be opened; <paramref name="inner"/> is still the caller's.</exception>
    public TraceFilter(IBackstore inner, string? path, ILogger? log = null, TimeProvider? time = null) : this(inner, path, log, time, TraceFile.Open, TraceFile.MostQueued)
    {
    }

    internal TraceFilter(IBackstore inner, string? path, ILogger? log, TimeProvider? time, Func<string, Stream> open, int mostQueued) : base(inner)
    {
        (_log, _time, _open, _mostQueued) = (log ?? NullLogger.Instance, time ?? TimeProvider.System, open, mostQueued);
        _trace = path is null ? null : Begin(path);
    }

    /// <summary>The file that is written; null when there is none.</summary>
    public string? Path => _trace?.Path;

    /// <summary>
    /// Ends the trace, and begins another. An operation is written to the file that there is when it ends. The trace goes on as it was when the new file
    /// cannot be opened.
    /// </summary>
    /// <param name="path">The new file, as for the constructor; null for none.</param>
    /// <exception cref="BackstoreException">The file cannot be opened.</exception>
    public async ValueTask SetPathAsync(string? path)
    {
        await _changing.WaitAsync().ConfigureAwait(false);
        try
        {
            var old = _trace;
            // The same file again: it is the same trace.
            if (old?.Path == path) return;
            _trace = path is null ? null : Begin(path);
            if (old is not null) await CloseAsync(old).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    private Trace Begin(string path)
    {
        var geometry = Geometry;
        string header = string.Create(CultureInfo.InvariantCulture,
            $"{TraceFile.Mark},\"started\":\"{_time.GetUtcNow():yyyy-MM-ddTHH:mm:ss.ffffffZ}\",\"bytes\":{geometry.LengthBytes},\"block\":{geometry.BlockSize}}}\n");
        return new Trace(path, new TraceFile(_open(path), header, _mostQueued), _time.GetTimestamp());
    }

    private async ValueTask CloseAsync(Trace trace)
    {
        if (!await trace.File.CloseAsync().ConfigureAwait(false)) Warn(trace);
    }

    private void Warn(Trace trace)
    {
        if (Interlocked.Exchange(ref trace.HasWarned, 1) == 0) LogMessages.TraceFailed(_log, trace.Path, trace.File.Failure ?? "");
    }

    /// <inheritdoc/>
    protected override ValueTask<long> BeginAsync(BackstoreCall call, CancellationToken cancellationToken) => new(_time.GetTimestamp());

    /// <inheritdoc/>
    protected override void End(BackstoreCall call, long begun, Exception? failure, long difference)
    {
        if (_trace is not { } trace) return;
        trace.File.Add(new(_time.GetElapsedTime(trace.Began, begun), _time.GetElapsedTime(begun), call, TraceRecord.ResultOf(failure, difference)));
        if (trace.File.Failure is not null) Warn(trace);
    }

    /// <summary>Disposes the inner backstore, then writes what is queued and closes the file.</summary>
    public override async ValueTask DisposeAsync()
    {
        try
        {
            await base.DisposeAsync().ConfigureAwait(false);
        }
        finally
        {
            await SetPathAsync(null).ConfigureAwait(false);
        }
    }
}
