using Xunit;

namespace LunKit.Conformance;

/// <summary>A storage system that a script of eng/ starts for tests, in a folder of its own; stopped with the test run, or with the test that started it.</summary>
internal abstract class Lab : IAsyncDisposable
{
    private static readonly Lock s_gate = new();
    private static readonly List<Lab> s_running = [];

    private readonly string _script;
    private readonly IReadOnlyList<string> _environment;

    static Lab() => AppDomain.CurrentDomain.ProcessExit += (_, _) =>
    {
        Lab[] left;
        lock (s_gate) left = [.. s_running];
        foreach (var lab in left) lab.DisposeAsync().AsTask().GetAwaiter().GetResult();
    };

    protected Lab(string script, params string[] environment)
    {
        (_script, _environment) = (Path.Combine(Repository.Root, "eng", script), environment);
        Folder = Directory.CreateTempSubdirectory($"lunkit-{script}-").FullName;
    }

    public string Folder { get; }

    /// <summary>One verb of the script.</summary>
    public Task RunAsync(string verb) => Tool.MustRunAsync("env", [.. _environment, _script, verb, Folder], limitSeconds: 150);

    /// <summary>What it does at the moment, for the message of a test that fails.</summary>
    public async Task<string> StateAsync() => (await Tool.RunAsync("env", [.. _environment, _script, "state", Folder], limitSeconds: 150)).Output;

    protected async Task StartAsync()
    {
        lock (s_gate) s_running.Add(this);
        await RunAsync("start");
    }

    protected static string? MissingOf(params string[] programs)
    {
        string path = $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin";
        string? missing = programs.FirstOrDefault(name => !path.Split(':').Any(p => File.Exists(Path.Combine(p, name))));
        return missing is null ? null : $"needs the program {missing} (eng/install-test-tools installs it)";
    }

    public async ValueTask DisposeAsync()
    {
        lock (s_gate)
            if (!s_running.Remove(this)) return;
        await RunAsync("stop");
    }
}
