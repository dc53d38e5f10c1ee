using System.Diagnostics;
using LunKit.Linux;
using LunKit.Tcmu;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>
/// A handler that runs as long as the target: started with it, started again when it ends (after a pause that grows while it keeps
/// ending), stopped with it.
/// </summary>
internal sealed class HandlerProcess : IAsyncDisposable
{
    private static readonly TimeSpan s_firstPause = TimeSpan.FromMilliseconds(100), s_longestPause = TimeSpan.FromSeconds(5), s_stopLimit = TimeSpan.FromSeconds(15);

    /// <summary>The environment variable of a handler that ends when its standard input does.</summary>
    public const string SupervisedVariable = "LUNKIT_SUPERVISED";

    private readonly string _command;
    private readonly string _target;
    private readonly string _statePath;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;

    /// <summary>Starts it.</summary>
    /// <param name="command">For the shell; "auto" is LunKit's own handler. <see cref="TcmuHandler.TargetVariable"/> tells it where to connect.</param>
    /// <param name="target">Where the target listens for handlers.</param>
    /// <param name="statePath">Where LunKit's own handler keeps the state of units that are no files.</param>
    /// <param name="log">Where to log.</param>
    public HandlerProcess(string command, string target, string statePath, ILogger log)
    {
        (_command, _target, _statePath, _log) = (command, target, statePath, log);
        _running = RunAsync();
    }

    private ProcessStartInfo StartInfo
    {
        get
        {
            var info = _command == "auto" ? Own() : new ProcessStartInfo("/bin/sh", ["-c", $"exec {_command}"]);
            info.Environment[TcmuHandler.TargetVariable] = _target;
            info.Environment[SupervisedVariable] = "1";
            info.RedirectStandardInput = true;
            return info;
        }
    }

    private ProcessStartInfo Own()
    {
        string program = Environment.ProcessPath!;
        string[] arguments = ["handle", "--target", _target, "--state-dir", _statePath];
        // Under the dotnet host the program is the first argument.
        return Path.GetFileNameWithoutExtension(program) == "dotnet" ? new ProcessStartInfo(program, [Environment.GetCommandLineArgs()[0], .. arguments]) : new ProcessStartInfo(program, arguments);
    }

    private async Task RunAsync()
    {
        var pause = s_firstPause;
        while (!_stop.IsCancellationRequested)
        {
            long started = Stopwatch.GetTimestamp();
            string end = await RunOnceAsync();
            if (_stop.IsCancellationRequested) return;
            // One that ran for a while starts again at once.
            pause = Stopwatch.GetElapsedTime(started) > s_longestPause ? s_firstPause : pause;
            ServeLog.HandlerEnded(_log, _command, end, pause.TotalSeconds);
            await Task.Delay(pause, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            pause = pause * 2 > s_longestPause ? s_longestPause : pause * 2;
        }
    }

    private async Task<string> RunOnceAsync()
    {
        try
        {
            using var process = Process.Start(StartInfo)!;
            // Its standard input stays open as long as this process lives: its end tells the handler that nobody looks after it any more.
            ServeLog.HandlerStarted(_log, _command, process.Id);
            try
            {
                await process.WaitForExitAsync(_stop.Token);
            }
            catch (OperationCanceledException)
            {
                await StopAsync(process);
            }
            return $"status {process.ExitCode}";
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException)
        {
            return e.Message;
        }
    }

    private static async Task StopAsync(Process process)
    {
        try
        {
            Signals.Terminate(process.Id);
        }
        catch (LinuxException)
        {
            // It has just ended by itself.
        }
        using var limit = new CancellationTokenSource(s_stopLimit);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            await process.WaitForExitAsync();
        }
    }

    /// <summary>Stops it: SIGTERM, and after a while SIGKILL.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _running;
        _stop.Dispose();
    }
}
