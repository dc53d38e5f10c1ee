using System.Diagnostics;

namespace LunKit.Mutants;

/// <summary>A process that was run to its end, or stopped when its time was over.</summary>
/// <param name="Code">Its exit code; null: it was stopped.</param>
/// <param name="Output">Both streams.</param>
internal sealed record Ended(int? Code, string Output)
{
    public static async Task<Ended> RunAsync(string folder, TimeSpan limit, IEnumerable<KeyValuePair<string, string?>>? environment,
        string file, params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(file, arguments)
        {
            WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach (var (name, value) in environment ?? []) start.Environment[name] = value;
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        using var time = new CancellationTokenSource(limit);
        try
        {
            await process.WaitForExitAsync(time.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
            return new(null, await output + await errors);
        }
        return new(process.ExitCode, await output + await errors);
    }
}
