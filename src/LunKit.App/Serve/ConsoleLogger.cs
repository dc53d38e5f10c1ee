using System.Globalization;
using LunKit.Backstores;
using LunKit.Diagnostics;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>
/// Log lines on standard error; on a terminal they replace the live line. Whoever logs neither waits nor fails (<see cref="LogLines"/>). Thread safe.
/// </summary>
internal sealed class ConsoleLogger : ILogger
{
    private readonly LogLines _lines;
    private int _minimum;
    /// <summary>Begins a log.</summary>
    /// <param name="minimum">What is less is not logged.</param>
    /// <param name="to">Where lines go; null for standard error.</param>
    public ConsoleLogger(LogLevel minimum, TextWriter? to = null)
    {
        Minimum = minimum;
        bool terminal = !Console.IsErrorRedirected;
        try
        {
            _lines = new LogLines(
                line => (to ?? Console.Error).WriteLine(terminal ? "\r\e[K" + line : line), static loss => $"{Now} warning [0] {loss}");
        }
        catch (Exception e) when (FileWorkers.IsThreadShortage(e))
        {
            throw new UserException("no thread can be started", inner: e);
        }
    }

    /// <summary>What is less is not logged.</summary>
    public LogLevel Minimum { get => (LogLevel)Volatile.Read(ref _minimum); set => Volatile.Write(ref _minimum, (int)value); }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= Minimum && logLevel != LogLevel.None;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel)) return;
        string level = logLevel switch
        {
            LogLevel.Trace or LogLevel.Debug => "debug", LogLevel.Information => "info", LogLevel.Warning => "warning",
            LogLevel.Error => "error", _ => "critical",
        };
        _lines.Add($"{Now} {level} [{eventId.Id}] {formatter(state, exception)}{(exception is null ? "" : Environment.NewLine + exception)}");
    }

    private static string Now => TimeProvider.System.GetLocalNow().ToString("HH:mm:ss.fff", CultureInfo.InvariantCulture);

    /// <summary>Waits until all lines are written, for a second at most: the process ends.</summary>
    public void Flush() => _lines.Flush();
}
