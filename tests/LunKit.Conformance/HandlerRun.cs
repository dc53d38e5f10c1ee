using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace LunKit.Conformance;

/// <summary>A handler process of its own for a test: `lunkit handle --target`, or another program.</summary>
internal sealed class HandlerRun : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();

    private HandlerRun(Process process) => _process = process;

    public int Id => _process.Id;

    public string Output
    {
        get { lock (_output) return _output.ToString(); }
    }

    /// <summary>A socket path of its own for a target.</summary>
    public static string NewPath() => $"@lunkit-conformance-{Environment.ProcessId}-{Guid.NewGuid():n}";

    /// <summary>LunKit's handler for the target that listens at a path.</summary>
    public static HandlerRun Start(string path, params string[] arguments) =>
        StartProgram("dotnet", [Path.Combine(Repository.Root, "artifacts/bin/LunKit.App/release/LunKit.App.dll"), "handle", "--target", path, .. arguments]);

    public static HandlerRun StartProgram(string program, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        var handler = new HandlerRun(Process.Start(start)!);
        handler._process.OutputDataReceived += (_, line) => handler.Take(line.Data);
        handler._process.ErrorDataReceived += (_, line) => handler.Take(line.Data);
        handler._process.BeginOutputReadLine();
        handler._process.BeginErrorReadLine();
        return handler;
    }

    private void Take(string? line)
    {
        lock (_output) if (line is not null) _output.AppendLine(line);
    }

    /// <summary>Waits until it has said something.</summary>
    public async Task UntilAsync(string text, int limitSeconds = 30)
    {
        for (long end = Environment.TickCount64 + limitSeconds * 1000; !Output.Contains(text, StringComparison.Ordinal);)
        {
            if (Environment.TickCount64 > end || _process.HasExited) throw new TimeoutException($"the handler does not say '{text}':\n{Output}");
            await Task.Delay(20);
        }
    }

    public Task SignalAsync(string signal) => Tool.MustRunAsync("kill", [$"-{signal}", Id.ToString(CultureInfo.InvariantCulture)]);

    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>Asks it to stop and returns its exit status.</summary>
    public async Task<int> StopAsync()
    {
        await SignalAsync("TERM");
        await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) await KillAsync();
        _process.Dispose();
    }
}
