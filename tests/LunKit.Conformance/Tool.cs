using System.Diagnostics;
using Xunit;

namespace LunKit.Conformance;

/// <summary>A foreign program. A test that needs one that is missing says so and is skipped.</summary>
internal static class Tool
{
    public static void Require(string name)
    {
        string path = $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin";
        Assert.SkipUnless(path.Split(':').Any(p => File.Exists(Path.Combine(p, name))), $"needs the program {name} (eng/install-test-tools installs it)");
    }

    /// <summary>Runs it; returns exit status and everything it printed. Killed after the limit (status 124).</summary>
    public static async Task<(int Status, string Output)> RunAsync(string name, IEnumerable<string> arguments, int limitSeconds = 60)
    {
        var start = new ProcessStartInfo(name) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PATH"] = $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin";
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(limitSeconds));
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            return (124, $"{name} was not done after {limitSeconds} s\n{await output}{await error}");
        }
        return (process.ExitCode, await output + await error);
    }

    /// <summary>Runs it and fails the test unless it ends with 0.</summary>
    public static async Task<string> MustRunAsync(string name, IEnumerable<string> arguments, int limitSeconds = 60)
    {
        var (status, output) = await RunAsync(name, arguments, limitSeconds);
        Assert.True(status == 0, $"{name} {string.Join(' ', arguments)} ended with {status}:\n{output}");
        return output;
    }
}
