using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Testing;
using LunKit.Tests.Tcmu.Target;

namespace LunKit.Tests.Backstores;

/// <summary>The contract kit on LunKit's own backstores, and on backstores that are wrong, which it finds.</summary>
public sealed class ContractTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lunkit-contract-{Guid.NewGuid():N}.img");

    public void Dispose() => File.Delete(_path);

    private static readonly ContractOptions s_options = new() { WorkBytes = 4 << 20, Steps = 300, MayGrow = true };

    private static async Task<ContractReport> VerifyAsync(Func<IBackstore> open, ContractOptions? options = null) =>
        await BackstoreContract.VerifyAsync(() => ValueTask.FromResult(open()), options ?? s_options, null, TestContext.Current.CancellationToken);

    [Theory]
    [InlineData(512, false)]
    [InlineData(4096, false)]
    [InlineData(512, true)]
    public async Task FileKeepsIt(int block, bool direct) =>
        (await VerifyAsync(() => FileBackstore.Open(new() { Path = _path, SizeBytes = File.Exists(_path) ? null : 8 << 20, BlockSize = block, Direct = direct }))).EnsurePassed();

    [Fact]
    public async Task ReadOnlyFileKeepsIt()
    {
        await File.WriteAllBytesAsync(_path, new byte[1 << 20], TestContext.Current.CancellationToken);
        var report = (await VerifyAsync(() => FileBackstore.Open(new() { Path = _path, ReadOnly = true }))).EnsurePassed();
        Assert.Equal(2, report.Results.Count(r => r.Outcome == ContractOutcome.Passed));
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task MemoryKeepsIt(int block)
    {
        var report = await VerifyAsync(() => new MemoryBackstore(new BackstoreGeometry(8 << 20) { BlockSize = block }), s_options with { IsPersistent = false });
        report.EnsurePassed();
    }

    /// <summary>The kit calls code of others, which may use the stack as the libraries of clusters do.</summary>
    [Fact]
    public async Task ABackstoreMayUseMuchStack()
    {
        var report = await VerifyAsync(
            () => new MemoryBackstore((Deep() + 8) << 20), s_options with { IsPersistent = false, Steps = 10 });
        report.EnsurePassed();

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static int Deep()
        {
            Span<byte> much = stackalloc byte[600 * 1024];
            much.Clear();
            return much[^1];
        }
    }

    /// <summary>Through the device server: READ, WRITE, UNMAP, WRITE SAME, COMPARE AND WRITE, SYNCHRONIZE CACHE.</summary>
    [Fact]
    public async Task AUnitKeepsIt()
    {
        var options = s_options with { IsPersistent = false };
        (await BackstoreContract.VerifyAsync(async () => await UnitBackstore.OpenAsync(
            new BlockUnit(new MemoryBackstore(8 << 20), "unit", new VolatileUnitState(UnitIdentity.IdOf("unit")))), options, null, TestContext.Current.CancellationToken)).EnsurePassed();
    }

    /// <summary>Through a handler process's ring.</summary>
    [Fact]
    public async Task AHandlerKeepsIt()
    {
        var benches = new List<UserBench>();
        var handlers = new List<IAsyncDisposable>();
        try
        {
            var report = await BackstoreContract.VerifyAsync(async () =>
            {
                var bench = new UserBench(sizeBytes: 8 << 20);
                benches.Add(bench);
                handlers.Add(bench.Handle(new MemoryBackstore(8 << 20)));
                return await UnitBackstore.OpenAsync(bench.Unit);
            }, s_options with { IsPersistent = false, MaxTransferBytes = 128 * 1024, Steps = 100 }, null, TestContext.Current.CancellationToken);
            report.EnsurePassed();
        }
        finally
        {
            foreach (var handler in handlers) await handler.DisposeAsync();
            foreach (var bench in benches) await bench.DisposeAsync();
        }
    }

    public static TheoryData<string, string> Faults => new()
    {
        { "forgets writes", "one after the other" },
        { "drops the last block of long writes", "first and last blocks" },
        { "holds nothing over a restart", "was flushed" },
        { "writes memory late", "cancellation" },
        { "compares without writing as one", "compare and writes" },
        { "discards without zeroes", "one after the other" },
        { "grows with rubbish", "growth" },
        { "takes writes though read-only", "read-only" },
        { "hangs when it fails", "failures" },
        { "fails with anything", "failures" },
        { "acknowledges what it loses", "failures" },
        { "leaves half blocks when it fails", "failures" },
        { "loses its cache silently", "failures" },
        { "loses its cache and tells one flush", "failures" },
        { "does not recover", "failures" },
    };

    private static readonly ContractOptions s_broken = s_options with
    {
        FailureLimit = TimeSpan.FromSeconds(2),
        Break = broken =>
        {
            FaultyBackstore.IsBroken = broken;
            return Task.CompletedTask;
        },
    };

    [Theory]
    [InlineData("none")]
    [InlineData("loses its cache and says so")]
    [InlineData("loses its cache and tells one group of flushes")]
    public async Task AFailureIsNoFault(string kind) => (await VerifyAsync(() => new FaultyBackstore(kind), s_broken)).EnsurePassed();

    [Theory, MemberData(nameof(Faults))]
    public async Task AFaultIsFound(string fault, string check) => Found(await VerifyAsync(() => new FaultyBackstore(fault), s_broken), check);

    private static readonly ContractOptions s_growing = s_options with { Grow = FaultyBackstore.GrowMediumAsync };

    [Fact]
    public async Task GrowingIsNoFault() => (await VerifyAsync(() => new FaultyBackstore("none"), s_growing)).EnsurePassed();

    [Theory]
    [InlineData("cuts when it grows")]
    [InlineData("cuts what it takes over")]
    public async Task OneThatCutsWhatItsOwnerHasGrownIsFound(string fault) => Found(await VerifyAsync(() => new FaultyBackstore(fault), s_growing), "growth");

    [Fact]
    public async Task AFileThatItsOwnerGrowsKeepsIt()
    {
        var options = s_options with
        {
            Grow = async bytes =>
            {
                using var truncate = System.Diagnostics.Process.Start("truncate", ["-s", $"{bytes}", _path]);
                await truncate.WaitForExitAsync();
            },
        };
        (await VerifyAsync(() => FileBackstore.Open(new() { Path = _path, SizeBytes = File.Exists(_path) ? null : 8 << 20 }), options)).EnsurePassed();
    }

    [Theory]
    [InlineData("seeks and moves")]
    [InlineData("has one scratch buffer")]
    public async Task StateThatCallsShareIsFound(string fault) =>
        Found(await VerifyAsync(() => new UnsafeBackstore(fault), s_options with { IsPersistent = false }), "calls that overlap");

    private static readonly ContractOptions s_crashing = s_options with { Crash = CrashingBackstore.CrashAsync };

    [Theory]
    [InlineData("flushes nothing")]
    [InlineData("forces nothing")]
    [InlineData("has a cache and does not declare it")]
    public async Task WhatIsLostWithThePowerIsFound(string fault) => Found(await VerifyAsync(() => new CrashingBackstore(fault), s_crashing), "loss of power");

    [Theory]
    [InlineData("none")]
    [InlineData("has a cache and forces")]
    public async Task ACacheIsNoFault(string kind)
    {
        var report = (await VerifyAsync(() => new CrashingBackstore(kind), s_crashing)).EnsurePassed();
        Assert.Contains(report.Results, r => r.Name.Contains("loss of power", StringComparison.Ordinal) && r.Outcome == ContractOutcome.Passed);
    }

    /// <summary>What the kit cannot see by itself it does not pass over in silence.</summary>
    [Fact]
    public async Task WhatWasNotCheckedIsSaid()
    {
        var report = await VerifyAsync(() => new CrashingBackstore("flushes nothing"), s_options);
        Assert.Contains(report.Results, r => r.Outcome == ContractOutcome.NotApplicable && r.Message.StartsWith("not checked: whether a flush", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("never completes a read")]
    [InlineData("blocks its caller")]
    public async Task ACallThatHangsIsNamed(string fault)
    {
        var report = await VerifyAsync(() => new FaultyBackstore(fault), s_options with { CallLimit = TimeSpan.FromSeconds(1) });
        Found(report, "one after the other");
        Assert.Contains(report.Results, r => r.Message.StartsWith("ReadAsync(", StringComparison.Ordinal) && r.Message.Contains("has not ended after 1 s", StringComparison.Ordinal));
        // The rest would work beside a call that is still there.
        Assert.Equal(ContractOutcome.NotApplicable, report.Results[^1].Outcome);
    }

    [Theory]
    [InlineData("never completes a read")]
    [InlineData("blocks its caller")]
    public async Task TheKitCanBeCancelledWhileACallHangs(string fault)
    {
        using var stop = new CancellationTokenSource();
        var run = BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(new FaultyBackstore(fault)), s_options, null, stop.Token);
        await Task.Delay(500, TestContext.Current.CancellationToken);
        Assert.False(run.IsCompleted);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken));
    }

    private static void Found(ContractReport report, string check)
    {
        var failed = report.Results.Where(r => r.Outcome == ContractOutcome.Failed).ToList();
        Assert.True(failed.Any(r => r.Name.Contains(check, StringComparison.Ordinal)), report.ToString());
        Assert.Throws<ContractException>(() => report.EnsurePassed());
    }
}
