using LunKit.Backstores;
using Microsoft.Extensions.Logging;

namespace LunKit.Diagnostics;

/// <summary>
/// The log of those who give none: warnings and worse, a line each, on the standard error. Whoever wants silence says so with a logger
/// that is silent. Whoever logs neither waits nor fails, whatever is behind the standard error; a thread writes, which the first line starts.
/// Thread safe.
/// </summary>
public sealed class StandardErrorLog : ILogger
{
    private readonly Lock _gate = new();
    private LogLines? _lines;

    private StandardErrorLog()
    {
    }

    /// <summary>The one there is.</summary>
    public static StandardErrorLog Instance { get; } = new();

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => logLevel is >= LogLevel.Warning and < LogLevel.None;

    /// <inheritdoc/>
    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel)) return;
        string text = formatter(state, exception);
        Lines?.Add(exception is null ? $"LunKit: {text}" : $"LunKit: {text}: {exception}");
    }

    /// <summary>Null while no thread can be started: the line is lost.</summary>
    private LogLines? Lines
    {
        get
        {
            lock (_gate)
            {
                try
                {
                    return _lines ??= new LogLines(static line => Console.Error.WriteLine(line), static loss => $"LunKit: {loss}");
                }
                catch (Exception e) when (FileWorkers.IsThreadShortage(e))
                {
                    return null;
                }
            }
        }
    }

    /// <summary>Waits until all lines are written, for a second at most.</summary>
    internal void Flush() => Lines?.Flush();
}
