using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using LunKit.App.CommandLine;
using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Testing;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Backstores;

/// <summary><c>lunkit check</c>: the contract kit on any backstore.</summary>
internal static class CheckCommand
{
    private const string Details = """
        A random mixture of reads, writes, discards, zeroes, compare and writes and flushes, alone and at once, is compared with a model; then the ends
        of the medium, cancellation, and closing and opening again. With a command that breaks what is behind it (--break), and one that mends it
        (--mend), also that failures are reported in time and lose nothing. The start of the backstore (--size) is overwritten.
        """;


    public static Command Create()
    {
        var backstore = new Argument<string>("BACKSTORE") { Description = "As for lunkit serve" };
        var overwrite = new Option<bool>("--overwrite") { Description = "Yes, what is in it may be overwritten" };
        var size = new Option<string>("--size") { Description = "Bytes from the start to work on", HelpName = "SIZE", DefaultValueFactory = _ => "8M" };
        var steps = Words.Number("--steps", "Random operations", "N", 400, 1);
        var seed = Words.Number("--seed", "The same seed does the same", "N", 1, int.MinValue);
        var toBreak = new Option<string?>("--break") { Description = "Shell command that breaks what is behind it", HelpName = "COMMAND" };
        var toMend = new Option<string?>("--mend") { Description = "Shell command that mends it again", HelpName = "COMMAND" };
        var limit = Words.Number("--failure-limit", "An operation has to end so soon while it is broken", "SECONDS", 60, 1, 3600);
        var command = new AppCommand("check", "Check that a backstore does what a disk must; overwrites it.", backstore, overwrite, size, steps, seed, toBreak, toMend, limit)
        {
            Details = Details,
            Examples =
            [
                ("lunkit check memory:64M --overwrite", "a disk in memory"),
                ("lunkit check block:/dev/loop0 --overwrite --size 16M --steps 5000", "longer, on more of a device"),
                ("lunkit check rbd:rbd/scratch --overwrite", "a Ceph RBD image"),
                ("lunkit check pscsi:/dev/sg3 --overwrite", "a real SCSI disk"),
                ("lunkit check memory:64M,filter=delay:2ms --overwrite", "with a filter over it"),
                ("lunkit check rbd:rbd/scratch,timeout=5 --overwrite --break 'systemctl kill -s KILL ceph-osd@0' --mend 'systemctl start ceph-osd@0'", "with failures"),
            ],
        };
        command.SetAction((result, stop) => RunAsync(result.GetValue(backstore)!, result.GetValue(overwrite), result.GetValue(size)!, new ContractOptions
        {
            Steps = result.GetValue(steps), Seed = result.GetValue(seed), FailureLimit = TimeSpan.FromSeconds(result.GetValue(limit)),
            Break = Breaking(result.GetValue(toBreak), result.GetValue(toMend)),
        }, stop));
        return command;
    }

    private static Func<bool, Task>? Breaking(string? toBreak, string? toMend)
    {
        if (toBreak is null && toMend is null) return null;
        if (toBreak is null || toMend is null) throw new UserException("--break and --mend belong together", 2);
        return async broken =>
        {
            string command = broken ? toBreak : toMend;
            using var shell = Process.Start("/bin/sh", ["-c", command]);
            await shell.WaitForExitAsync();
            if (shell.ExitCode != 0) throw new ContractException($"'{command}' ended with {shell.ExitCode}");
        };
    }

    private static async Task<int> RunAsync(string text, bool overwrite, string size, ContractOptions options, CancellationToken stop)
    {
        var spec = AnyBackstore.Parse(text);
        if (!overwrite) throw new UserException($"the check overwrites {text}: say --overwrite if it may", 2);
        if (!ByteSize.TryParse(size, out long bytes) || bytes is < 64 * 1024 or > 1 << 30) throw new UserException($"--size '{size}' is not between 64K and 1G", 2);
        var log = new ConsoleLogger(LogLevel.Warning);
        options = options with { WorkBytes = (int)bytes, IsPersistent = spec.Kind is not ("memory" or "null") };
        try
        {
            var report = await BackstoreContract.VerifyAsync(() => spec.OpenAsync(readOnly: false, log), options, new Lines(), stop);
            int failed = report.Results.Count(r => r.Outcome == ContractOutcome.Failed), skipped = report.Results.Count(r => r.Outcome == ContractOutcome.NotApplicable);
            string skips = skipped > 0 ? $", {skipped} skipped: {text} does not offer what they need" : "";
            Console.WriteLine($"{text}: {report.Results.Count - failed - skipped} checks passed, {failed} failed{skips}");
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
