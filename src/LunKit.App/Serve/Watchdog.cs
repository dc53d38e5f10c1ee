namespace LunKit.App.Serve;

/// <summary>
/// Gives a sign of life as long as the service lives: its state can be read, and the thread pool still runs what is posted to it. A service that hangs gives none,
/// and is restarted by whoever waits for it.
/// </summary>
internal sealed class Watchdog : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;

    /// <summary>Begins.</summary>
    /// <param name="pause">Time between two signs.</param>
    /// <param name="look">Reads the state of the service, and takes its locks on the way.</param>
    /// <param name="alive">Gives the sign.</param>
    public Watchdog(TimeSpan pause, Action look, Action alive) => _running = RunAsync(pause, look, alive);

    private async Task RunAsync(TimeSpan pause, Action look, Action alive)
    {
        using var timer = new PeriodicTimer(pause);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
            {
                look();
                alive();
            }
        }
        catch (OperationCanceledException)
        {
            // It stops.
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        // One that hangs in a lock is left there.
        await Task.WhenAny(_running, Task.Delay(TimeSpan.FromSeconds(1)));
        _stop.Dispose();
    }
}
