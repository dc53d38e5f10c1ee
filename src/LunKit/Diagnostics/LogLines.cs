using System.Globalization;

namespace LunKit.Diagnostics;

/// <summary>
/// Lines on their way to a log. Whoever adds one neither waits nor fails: the disk behind the log may be full, its reader may have stopped, a
/// terminal may hold its output (Ctrl-S). A thread of its own writes, and lines that it cannot get rid of are counted. Thread safe.
/// </summary>
internal sealed class LogLines
{
    // Some minutes of a busy server's log.
    private const int MaxWaiting = 4096;
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(1);

    // For Monitor.Wait, which Lock does not have.
    private readonly object _gate = new();
    private readonly Queue<string> _waiting = new();
    private readonly Action<string> _write;
    private readonly Func<string, string> _lossLine;
    private bool _isWriting;
    private long _lost;

    /// <summary>Begins; throws what the runtime does when no thread can be started.</summary>
    /// <param name="write">Writes a line; may wait, and fail as files do.</param>
    /// <param name="lossLine">Makes a line of the text that says how many lines are lost.</param>
    public LogLines(Action<string> write, Func<string, string> lossLine)
    {
        (_write, _lossLine) = (write, lossLine);
        new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-log" }.Start();
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Flush();
    }

    /// <summary>Adds a line.</summary>
    public void Add(string line)
    {
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
                line = told > 0 ? _lossLine(string.Create(CultureInfo.InvariantCulture, $"{told} lines of the log were lost")) : _waiting.Dequeue();
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
            _write(line);
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
