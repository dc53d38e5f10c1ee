using System.Globalization;
using LunKit.Backstores;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>
/// Log lines on standard error; on a terminal they replace the live line. Whoever logs neither waits nor fails: the disk behind the log may be
/// full, its reader may have stopped, a terminal may hold its output (Ctrl-S). A thread of its own writes, and lines that it cannot get rid of are
/// counted. Thread safe.
/// </summary>
internal sealed class ConsoleLogger : ILogger
{
    // Some minutes of a busy server's log.
    private const int MaxWaiting = 4096;
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(1);

    // For Monitor.Wait, which Lock does not have.
    private readonly object _gate = new();
    private readonly Queue<string> _waiting = new();
    private readonly LogLevel _minimum;
    private readonly TextWriter? _to;
    private readonly bool _terminal = !Console.IsErrorRedirected;
    private bool _isWriting;
    private long _lost;

    /// <summary>Begins a log.</summary>
    /// <param name="minimum">What is less is not logged.</param>
    /// <param name="to">Where lines go; null for standard error.</param>
    public ConsoleLogger(LogLevel minimum, TextWriter? to = null)
    {
        (_minimum, _to) = (minimum, to);
        try
        {
            new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-log" }.Start();
        }
        catch (Exception e) when (FileWorkers.IsThreadShortage(e))
        {
            throw new UserException("no thread can be started", inner: e);
        }
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Flush();
    }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= _minimum && logLevel != LogLevel.None;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel)) return;
        string level = logLevel switch
        {
            LogLevel.Trace or LogLevel.Debug => "debug", LogLevel.Information => "info", LogLevel.Warning => "warning",
            LogLevel.Error => "error", _ => "critical",
        };
        string line = $"{Now} {level} [{eventId.Id}] {formatter(state, exception)}{(exception is null ? "" : Environment.NewLine + exception)}";
        lock (_gate)
        {
            if (_waiting.Count >= MaxWaiting)
            {
                _lost++;
                return;
            }
            _waiting.Enqueue(line);
            Monitor.PulseAll(_gate);
        }
    }

    private static string Now => TimeProvider.System.GetLocalNow().ToString("HH:mm:ss.fff", CultureInfo.InvariantCulture);

    private void Run()
    {
        while (true)
        {
            string line;
            long told;
            lock (_gate)
            {
                _isWriting = false;
                Monitor.PulseAll(_gate);
                while (_waiting.Count == 0) Monitor.Wait(_gate);
                _isWriting = true;
                told = _lost;
                line = told > 0 ? $"{Now} warning [0] {told} lines of the log were lost" : _waiting.Dequeue();
            }
            bool isWritten = TryWrite(line);
            lock (_gate)
            {
                if (isWritten)
                {
                    _lost -= told;
                    continue;
                }
                // Not even the loss can be told: the line behind it is lost, too.
                if (told > 0) _waiting.Dequeue();
                _lost++;
            }
        }
    }

    private bool TryWrite(string line)
    {
        try
        {
            (_to ?? Console.Error).WriteLine(_terminal ? "\r\e[K" + line : line);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException or OutOfMemoryException)
        {
            return false;
        }
    }

    /// <summary>Waits until all lines are written, for a second at most: the process ends.</summary>
    public void Flush()
    {
        long end = Environment.TickCount64 + (long)s_farewell.TotalMilliseconds;
        lock (_gate)
        {
            while (_waiting.Count > 0 || _isWriting)
            {
                long left = end - Environment.TickCount64;
                if (left <= 0 || !Monitor.Wait(_gate, (int)left)) return;
            }
        }
    }
}
