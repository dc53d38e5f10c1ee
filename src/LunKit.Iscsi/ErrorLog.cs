using System.Globalization;
using Microsoft.Extensions.Logging;

namespace LunKit.Iscsi;

/// <summary>
/// The log of a program that gave none: what is degraded or lost goes to a text writer, standard error by default, so that a backstore that fails
/// does not do so in silence. Thread safe.
/// </summary>
internal sealed class ErrorLog(TextWriter? output) : ILogger
{
    private readonly Lock _gate = new();

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel is >= LogLevel.Warning and not LogLevel.None;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel)) return;
        string line = string.Create(CultureInfo.InvariantCulture, $"{logLevel} [{eventId.Id}] {formatter(state, exception)}{(exception is null ? "" : Environment.NewLine + exception)}");
        // Looked up each time: a program may redirect its errors.
        lock (_gate) (output ?? Console.Error).WriteLine(line);
    }
}
