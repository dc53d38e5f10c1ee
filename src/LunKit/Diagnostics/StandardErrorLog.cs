using Microsoft.Extensions.Logging;

namespace LunKit.Diagnostics;

/// <summary>
/// The log of those who give none: warnings and worse, a line each, on the standard error. Whoever wants silence says so with a logger
/// that is silent.
/// Thread safe.
/// </summary>
public sealed class StandardErrorLog : ILogger
{
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
        try
        {
            // One write: lines of several threads do not mix.
            Console.Error.WriteLine(exception is null ? $"LunKit: {text}" : $"LunKit: {text}: {exception}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            // The disk behind it is full, or the terminal has gone: that ends no thread of whoever logs.
        }
    }
}
