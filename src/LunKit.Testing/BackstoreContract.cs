using System.Diagnostics;
using LunKit.Backstores;
using LunKit.Testing.Checks;

namespace LunKit.Testing;

/// <summary>
/// Does to a backstore what a target does, and more, and compares with a model: any mixture of operations, alone and at once, the ends of the
/// medium, calls that overlap, cancellation, failures, loss of power, resizing, closing and opening again. Every call has a time limit. What it
/// works on is overwritten. Needs no test framework:
/// <code>
/// var report = await BackstoreContract.VerifyAsync(() => ValueTask.FromResult&lt;IBackstore&gt;(new MyBackstore(...)));
/// report.EnsurePassed();
/// </code>
/// </summary>
public static class BackstoreContract
{
    // Each opens the backstore anew, as a target does when it starts.
    private static readonly (string Name, Func<CheckContext, Task> Run)[] s_checks =
    [
        ("geometry is possible", GeometryCheck.RunAsync),
        ("operations one after the other behave like an array", SequentialCheck.RunAsync),
        ("operations at once behave like an array", ConcurrentCheck.RunAsync),
        ("first and last blocks, long transfers", BoundaryCheck.RunAsync),
        ("calls that overlap keep out of each other's way", OverlapCheck.RunAsync),
        ("racing writes leave whole blocks", RaceCheck.WritesAsync),
        ("racing compare and writes lose none", RaceCheck.CompareAndWritesAsync),
        ("cancellation leaves memory and medium alone", CancellationCheck.RunAsync),
        ("what was flushed is there after opening again", DurabilityCheck.RunAsync),
        ("a loss of power loses only what it may", CrashCheck.RunAsync),
        ("failures are told in time, and lose nothing", FailureCheck.RunAsync),
        ("growth is noticed, and adds zeroes", ResizeCheck.RunAsync),
        ("a read-only backstore refuses writes", ReadOnlyCheck.RunAsync),
    ];

    /// <summary>Runs all checks; one that fails does not keep the others from running.</summary>
    /// <param name="open">Opens the backstore; called for each check, after the one before is disposed.</param>
    /// <param name="options">How thorough, and what it may do.</param>
    /// <param name="progress">Told of each check when it has ended.</param>
    /// <param name="stop">Ends it early.</param>
    public static async Task<ContractReport> VerifyAsync(
        Func<ValueTask<IBackstore>> open, ContractOptions? options = null, IProgress<ContractResult>? progress = null, CancellationToken stop = default)
    {
        // One that cannot be opened at all is no backstore to check: that exception is the caller's.
        await using (await new CheckContext(open, options ?? new(), stop).OpenAsync().ConfigureAwait(false))
        {
        }
        var results = new List<ContractResult>();
        string? hangs = null;
        foreach (var (name, run) in s_checks)
        {
            var context = new CheckContext(open, options ?? new(), stop);
            // What hangs cannot be closed, and most backstores are not open twice.
            var result = hangs is null ? await RunAsync(name, run, context).ConfigureAwait(false)
                : new ContractResult(name, ContractOutcome.NotApplicable, $"not checked: {hangs} still hangs", TimeSpan.Zero);
            hangs ??= context.Hangs;
            progress?.Report(result);
            results.Add(result);
        }
        return new ContractReport(results);
    }

    private static async Task<ContractResult> RunAsync(string name, Func<CheckContext, Task> run, CheckContext context)
    {
        long started = Stopwatch.GetTimestamp();
        ContractResult Result(ContractOutcome outcome, string message) => new(name, outcome, message, Stopwatch.GetElapsedTime(started));
        try
        {
            await run(context).ConfigureAwait(false);
            return Result(ContractOutcome.Passed, context.Note);
        }
        catch (NotApplicableException e)
        {
            return Result(ContractOutcome.NotApplicable, e.Message);
        }
        catch (ContractException e)
        {
            return Result(ContractOutcome.Failed, e.Message);
        }
        catch (Exception e) when (!context.Stop.IsCancellationRequested)
        {
            return Result(ContractOutcome.Failed, $"it threw {e}");
        }
    }
}
