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
    private readonly TaskCompletionSource<int[]> _ports = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private readonly string? _states;

    private LunKitProcess(Process process, string? states) => (_process, _states) = (process, states);

    public const string Iqn = "iqn.2026-11.local.lunkit:disk";

    public int Port => Ports[0];

    /// <summary>The ports of its portals, of which there are two unless the arguments say otherwise.</summary>
    public IReadOnlyList<int> Ports { get; private set; } = [];

    public int Id => _process.Id;

    public string Output
    {
        get
        {
            lock (_output) return _output.ToString();
        }
    }

    /// <summary>Waits until it has said something: its words come through a pipe, later than what it has done.</summary>
    public async Task UntilAsync(string text, int limitSeconds = 30)
    {
        for (long end = Environment.TickCount64 + limitSeconds * 1000; !Output.Contains(text, StringComparison.Ordinal); await Task.Delay(20))
            if (Environment.TickCount64 > end) throw new TimeoutException($"the server does not say '{text}':\n{Output}");
    }

    public string Url(int lun, int portal = 0) => string.Create(CultureInfo.InvariantCulture, $"iscsi://127.0.0.1:{Ports[portal]}/{Iqn}/{lun}");

    /// <summary>Tells it to read its configuration, or its sizes, again.</summary>
    public Task HangUpAsync() => Tool.MustRunAsync("kill", ["-HUP", Id.ToString(CultureInfo.InvariantCulture)]);

    /// <summary>How often it has said something.</summary>
    public int Count(string text) => Output.Split(text).Length - 1;

    /// <summary>Starts and waits until it serves.</summary>
    public static Task<LunKitProcess> StartAsync(params string[] arguments) =>
        StartProgramAsync(Program, arguments);

    /// <summary>The program, as the build makes it.</summary>
    public static IReadOnlyList<string> Program { get; } = ["dotnet", Path.Combine(Repository.Root, "artifacts/bin/LunKit.App/release/LunKit.App.dll")];

    /// <summary>The same with another build of the program.</summary>
    public static Task<LunKitProcess> StartProgramAsync(IReadOnlyList<string> program, params string[] arguments) => StartProgramAsync(program, new Dictionary<string, string>(), arguments);

    /// <summary>The same with more in its environment.</summary>
    public static async Task<LunKitProcess> StartProgramAsync(IReadOnlyList<string> program, IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        var start = new ProcessStartInfo(program[0]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        // A configuration says all of that itself.
        bool isConfigured = arguments.Contains("--config");
        string[] portals = isConfigured || arguments.Contains("--portal") ? [] : ["--portal", "127.0.0.1:0", "--portal", "127.0.0.1:0"];
        // Devices of tests leave no state on the machine.
        string? states = isConfigured || arguments.Contains("--state-dir") ? null : Directory.CreateTempSubdirectory("lunkit-states-").FullName;
        string[] own = states is null ? [] : ["--state-dir", states];
        foreach (string argument in (string[])[.. program.Skip(1), "serve", .. portals, .. own, .. arguments]) start.ArgumentList.Add(argument);
        var server = new LunKitProcess(Process.Start(start)!, states);
        server._process.OutputDataReceived += (_, line) => server.Take(line.Data);
        server._process.ErrorDataReceived += (_, line) => server.Take(line.Data);
        server._process.BeginOutputReadLine();
        server._process.BeginErrorReadLine();
        var ended = server._process.WaitForExitAsync();
        if (await Task.WhenAny(server._ports.Task, ended, Task.Delay(30_000)) != server._ports.Task)
            throw new InvalidOperationException($"lunkit serve {string.Join(' ', arguments)} does not serve:\n{server.Output}");
        server.Ports = await server._ports.Task;
        return server;
    }

    private void Take(string? line)
    {
        if (line is null) return;
        lock (_output) _output.AppendLine(line);
        var match = Ready().Match(line);
        if (match.Success) _ports.TrySetResult([.. match.Groups[1].Captures.Select(c => int.Parse(c.Value, CultureInfo.InvariantCulture))]);
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
        if (_states is not null) Directory.Delete(_states, recursive: true);
    }

    [GeneratedRegex(@"^LunKit serves \S+ on (?:\S*:(\d+)(?:, )?)+$")]
    private static partial Regex Ready();
}
