using System.CommandLine;
using System.Globalization;
using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Testing;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Backstores;

/// <summary><c>lunkit check</c>: the contract kit on any backstore.</summary>
internal static class CheckCommand
{
    private const string Details = """
        Check that a backstore does what a disk must: any mixture of reads, writes, discards, zeroes, compare and writes and flushes, alone and at
        once, against a model; the ends of the medium, cancellation, and closing and opening again. It is overwritten.

        Examples:
          lunkit check memory:64M --overwrite
          lunkit check block:/dev/loop0 --overwrite --size 16M --steps 5000
          lunkit check rbd:rbd/scratch --overwrite
          lunkit check pscsi:/dev/sg3 --overwrite
        """;

    public static Command Create()
    {
        var backstore = new Argument<string>("BACKSTORE") { Description = "As for lunkit serve" };
        var overwrite = new Option<bool>("--overwrite") { Description = "Yes, what is in it may be overwritten" };
        var size = new Option<string>("--size") { Description = "Bytes from the start to work on", HelpName = "SIZE", DefaultValueFactory = _ => "8M" };
        var steps = new Option<int>("--steps") { Description = "Random operations", HelpName = "N", DefaultValueFactory = _ => 400 };
        var seed = new Option<int>("--seed") { Description = "The same seed does the same", HelpName = "N", DefaultValueFactory = _ => 1 };
        var command = new Command("check", Details) { backstore, overwrite, size, steps, seed };
        command.SetAction((result, stop) => RunAsync(result.GetValue(backstore)!, result.GetValue(overwrite), result.GetValue(size)!, result.GetValue(steps), result.GetValue(seed), stop));
        return command;
    }

    private static async Task<int> RunAsync(string text, bool overwrite, string size, int steps, int seed, CancellationToken stop)
    {
        var device = PassThroughSpec.Matches(text) ? PassThroughSpec.Parse(text) : null;
        var spec = device is null ? BackstoreSpec.Parse(text) : null;
        if (!overwrite) throw new UserException($"the check overwrites {text}: say --overwrite if it may", 2);
        if (!ByteSize.TryParse(size, out long bytes) || bytes is < 64 * 1024 or > 1 << 30) throw new UserException($"--size '{size}' is not between 64K and 1G", 2);
        if (steps < 1) throw new UserException("--steps is less than 1", 2);
        var log = new ConsoleLogger(LogLevel.Warning);
        var options = new ContractOptions { WorkBytes = (int)bytes, Steps = steps, Seed = seed, IsPersistent = spec?.Kind is not ("memory" or "null") };
        async ValueTask<IBackstore> OpenAsync() => device is null ? spec!.OpenStore(readOnly: false, log) : await UnitBackstore.OpenAsync(device.Open(readOnly: false, log));
        try
        {
            var report = await BackstoreContract.VerifyAsync(OpenAsync, options, new Lines(), stop);
            return report.IsPassed ? 0 : 1;
        }
        catch (BackstoreException e)
        {
            throw new UserException(e.Message, inner: e);
        }
    }

    /// <summary>A line for each check, as soon as it has ended.</summary>
    private sealed class Lines : IProgress<ContractResult>
    {
        public void Report(ContractResult value) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{value.Outcome switch { ContractOutcome.Passed => "ok     ", ContractOutcome.Failed => "FAILED ", _ => "skipped" }} {value.Name} ({value.Duration.TotalSeconds:F1} s){(value.Message.Length > 0 ? ": " + value.Message : "")}"));
    }
}
