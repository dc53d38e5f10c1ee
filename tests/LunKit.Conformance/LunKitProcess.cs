using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace LunKit.Conformance;

/// <summary>A `lunkit serve` of its own for a test: on a free port, stopped with the test.</summary>
internal sealed partial class LunKitProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly TaskCompletionSource<int> _port = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private LunKitProcess(Process process) => _process = process;

    public const string Iqn = "iqn.2026-11.local.lunkit:disk";

    public int Port { get; private set; }

    public int Id => _process.Id;

    public string Output
    {
        get
        {
            lock (_output) return _output.ToString();
        }
    }

    public string Url(int lun) => string.Create(CultureInfo.InvariantCulture, $"iscsi://127.0.0.1:{Port}/{Iqn}/{lun}");

    /// <summary>Starts and waits until it serves.</summary>
    public static async Task<LunKitProcess> StartAsync(params string[] arguments)
    {
        string dll = Path.Combine(Repository.Root, "artifacts/bin/LunKit.App/release/LunKit.App.dll");
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(dll);
        start.ArgumentList.Add("serve");
        if (!arguments.Contains("--portal"))
        {
            start.ArgumentList.Add("--portal");
            start.ArgumentList.Add("127.0.0.1:0");
        }
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        var server = new LunKitProcess(Process.Start(start)!);
        server._process.OutputDataReceived += (_, line) => server.Take(line.Data);
        server._process.ErrorDataReceived += (_, line) => server.Take(line.Data);
        server._process.BeginOutputReadLine();
        server._process.BeginErrorReadLine();
        var ended = server._process.WaitForExitAsync();
        if (await Task.WhenAny(server._port.Task, ended, Task.Delay(30_000)) != server._port.Task)
            throw new InvalidOperationException($"lunkit serve {string.Join(' ', arguments)} does not serve:\n{server.Output}");
        server.Port = await server._port.Task;
        return server;
    }

    private void Take(string? line)
    {
        if (line is null) return;
        lock (_output) _output.AppendLine(line);
        var match = Ready().Match(line);
        if (match.Success) _port.TrySetResult(int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));
    }

    /// <summary>Ends it as a crash or a power loss of the process would: SIGKILL.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>Asks it to stop and returns its exit status.</summary>
    public async Task<int> StopAsync()
    {
        using (var kill = Process.Start("kill", ["-TERM", Id.ToString(CultureInfo.InvariantCulture)])) await kill.WaitForExitAsync();
        await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) await KillAsync();
        _process.Dispose();
    }

    [GeneratedRegex(@"^LunKit serves .* on [^ ]*:(\d+)")]
    private static partial Regex Ready();
}
