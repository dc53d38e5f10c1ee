using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>Log lines on standard error; on a terminal they replace the live line. Thread safe.</summary>
internal sealed class ConsoleLogger(LogLevel minimum) : ILogger
{
    private readonly bool _terminal = !Console.IsErrorRedirected;

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= minimum && logLevel != LogLevel.None;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel)) return;
        string level = logLevel switch
        {
            LogLevel.Trace or LogLevel.Debug => "debug", LogLevel.Information => "info", LogLevel.Warning => "warning",
            LogLevel.Error => "error", _ => "critical",
        };
        string time = TimeProvider.System.GetLocalNow().ToString("HH:mm:ss.fff", System.Globalization.CultureInfo.InvariantCulture);
        string line = $"{(_terminal ? "\r\e[K" : "")}{time} {level} [{eventId.Id}] {formatter(state, exception)}{(exception is null ? "" : Environment.NewLine + exception)}";
        lock (this) Console.Error.WriteLine(line);
    }
}
