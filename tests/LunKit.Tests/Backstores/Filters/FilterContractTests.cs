using LunKit.Backstores;
using LunKit.Testing;

namespace LunKit.Tests.Backstores.Filters;

/// <summary>The contract kit through filters: those that leave the data alone are not noticed, and faults are found.</summary>
public sealed class FilterContractTests : IDisposable
{
    private static readonly ContractOptions s_options = new() { WorkBytes = 2 << 20, Steps = 200, IsPersistent = false };

    private readonly string _trace = Path.Combine(Path.GetTempPath(), $"lunkit-contract-{Guid.NewGuid():N}.jsonl");

    public void Dispose() => File.Delete(_trace);

    private static Task<ContractReport> VerifyAsync(Func<IBackstore> open, ContractOptions options) =>
        BackstoreContract.VerifyAsync(() => ValueTask.FromResult(open()), options, null, TestContext.Current.CancellationToken);

    private IBackstore All(IBackstore inner) => new ReadOnlyFilter(
        new DelayFilter(new RateFilter(new TraceFilter(new FaultFilter(inner, FaultSettings.Off), _trace), new RateSettings { OperationsPerSecond = 20_000, BytesPerSecond = 2e9 }),
            DelaySettings.All(TimeSpan.FromMilliseconds(1))), isOn: false);

    [Fact]
    public async Task AllTogetherKeepIt()
    {
        var report = (await VerifyAsync(() => All(new MemoryBackstore(4 << 20)), s_options)).EnsurePassed();
        Assert.Contains(report.Results, r => r.Name.Contains("calls that overlap", StringComparison.Ordinal) && r.Outcome == ContractOutcome.Passed);
        Assert.True(File.ReadLines(_trace).Count() > 500);
    }

    /// <summary>What a power failure may take is declared through them.</summary>
    [Fact]
    public async Task ACacheUnderThemKeepsIt()
    {
        var options = s_options with { Crash = CrashingBackstore.CrashAsync, IsPersistent = true };
        (await VerifyAsync(() => All(new CrashingBackstore("has a cache and forces")), options)).EnsurePassed();
        Assert.False((await VerifyAsync(() => All(new CrashingBackstore("forces nothing")), options)).IsPassed);
    }

    [Fact]
    public async Task ReadOnlyKeepsIt()
    {
        var report = (await VerifyAsync(() => new ReadOnlyFilter(new MemoryBackstore(4 << 20)), s_options)).EnsurePassed();
        Assert.Contains(report.Results, r => r.Name.Contains("read-only", StringComparison.Ordinal) && r.Outcome == ContractOutcome.Passed);
    }

    /// <summary>Faults that are told keep the contract, and those that are not, or leave half blocks, are found.</summary>
    [Theory]
    [InlineData(FaultEffect.Error, null)]
    [InlineData(FaultEffect.Short, null)]
    [InlineData(FaultEffect.Torn, "failures")]
    [InlineData(FaultEffect.Hang, "failures")]
    [InlineData(FaultEffect.Corrupt, "failures")]
    public async Task FaultsWhileItIsBroken(FaultEffect effect, string? check)
    {
        FaultFilter? last = null;
        var rules = new FaultSettings(new FaultRule { Effect = effect, Operations = OperationClasses.Write, Probability = 0.5 });
        var report = await VerifyAsync(() => last = new FaultFilter(new MemoryBackstore(4 << 20), FaultSettings.Off), s_options with
        {
            FailureLimit = TimeSpan.FromSeconds(2),
            Break = broken =>
            {
                last!.Settings = broken ? rules : FaultSettings.Off;
                return Task.CompletedTask;
            },
        });
        var failed = report.Results.Where(r => r.Outcome == ContractOutcome.Failed).Select(r => r.Name).ToList();
        if (check is null) Assert.Empty(failed);
        else Assert.Contains(failed, name => name.Contains(check, StringComparison.Ordinal));
        Assert.Contains(report.Results, r => r.Name.Contains("failures", StringComparison.Ordinal) && r.Outcome == (check is null ? ContractOutcome.Passed : ContractOutcome.Failed));
    }
}
