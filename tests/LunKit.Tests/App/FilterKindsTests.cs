using LunKit.App.Backstores;
using LunKit.App.Handle;
using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Tests.Tcmu;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.App;

/// <summary>How filters are written on the command line.</summary>
public sealed class FilterKindsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-filters-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("delay", "no time is given; write delay:5ms")]
    [InlineData("delay:5", "delay '5' is not a time; write 5ms or 2s")]
    [InlineData("delay:read=slow", "read= 'slow' is not a time")]
    [InlineData("delay:2ms:3ms", "'3ms' is no option, and '2ms' stands for TIME already")]
    [InlineData("delay:4000s", "a delay of 4000000 ms is not between 0 and 1 h")]
    [InlineData("delay:writ=5ms", "option 'writ' is not known; did you mean 'write'?")]
    [InlineData("delay:read=1ms:read=2ms", "option 'read' stands twice")]
    [InlineData("delay:5ms:off", "'off' stands alone: delay:off")]
    [InlineData("delay:", "nothing stands after the last colon")]
    [InlineData("rate", "no limit is given")]
    [InlineData("rate:iops=many", "iops=many is not a whole number of 1 or more")]
    [InlineData("rate:bytes=10Q", "'10Q' is not a size")]
    [InlineData("rate:iops=1:burst=2s:burst=1s", "option 'burst' stands twice")]
    [InlineData("rate:iops=1:burst=100s", "a burst of 100000 ms is not between 1 ms and 1 min")]
    [InlineData("rate:100", "option '100' is not known; there are iops, bytes, burst")]
    [InlineData("fault", "no effect is given; write one of error, hang, short, torn, corrupt")]
    [InlineData("fault:error", "option 'error' needs a value: error=medium|nospace")]
    [InlineData("fault:error=fire", "error=fire is not one of medium, nospace")]
    [InlineData("fault:hang:corrupt", "2 effects are given")]
    [InlineData("fault:read:torn", "Torn is for Write, not for Read")]
    [InlineData("fault:hang:range=2M-1M", "range=2M-1M has no byte")]
    [InlineData("fault:hang:range=2M", "range=2M is not FROM-TO")]
    [InlineData("fault:hang:probability=often", "probability=often is not a number such as 0.01 or 1%")]
    [InlineData("fault:hang:probability=2", "a probability of 2 is not more than 0 and up to 1")]
    [InlineData("fault:error=medium:nocancel", "nocancel is for hang")]
    [InlineData("fault:hang:bits=3", "bits= is for corrupt")]
    [InlineData("fault:hang:count=0", "count=0 is not a whole number of 1 or more")]
    [InlineData("trace", "the path of the file is missing")]
    [InlineData("readonly:very", "option 'very' is not known")]
    [InlineData("delya:5ms", "filter 'delya' is not known; did you mean 'delay'?; there are readonly, delay")]
    public void WrongOnesSayWhatIsWrong(string filter, string message)
    {
        var error = Assert.Throws<UserException>(() => BackstoreSpec.Parse($"memory:1M,filter={filter}"));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.StartsWith($"backstore 'memory:1M,filter={filter}': filter '", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
        Assert.Equal(2, error.ExitCode);
    }

    [Theory]
    [InlineData("memory:1M,filter", "option 'filter' needs a value: filter=KIND[:OPTION...]")]
    [InlineData("pscsi:/dev/sg1,filter=delay:5ms", "option 'filter' is not known")]
    public void WrongPlacesAreRefused(string text, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => AnyBackstore.Parse(text)).Message, StringComparison.Ordinal);

    private static FaultRule RuleOf(string text)
    {
        var filter = (FaultFilter)FilterText.Parse(text, s => new UserException(s)).Over(new MemoryBackstore(1 << 20), NullLogger.Instance);
        return Assert.Single(filter.Settings.Rules);
    }

    [Fact]
    public void FaultsMeanWhatTheySay()
    {
        Assert.Equal(new FaultRule { Effect = FaultEffect.Error, Operations = OperationClasses.Read, Start = 1 << 20, End = 2 << 20, Count = 3 },
            RuleOf("fault:read:error=medium:range=1M-2M:count=3"));
        Assert.Equal(new FaultRule { Effect = FaultEffect.Torn, Operations = OperationClasses.Write | OperationClasses.Flush, Error = BackstoreError.NoSpace, After = 10, Probability = 0.01 },
            RuleOf("fault:write:flush:torn:error=nospace:after=10:probability=1%"));
        Assert.Equal(new FaultRule { Effect = FaultEffect.Hang, HeedsCancellation = false, Start = 4096 }, RuleOf("fault:hang:nocancel:range=4K-"));
        Assert.Equal(new FaultRule { Effect = FaultEffect.Corrupt, Bits = 8, Seed = 7, Probability = 0.5, End = 4096 }, RuleOf("fault:corrupt:bits=8:seed=7:probability=0.5:range=0-4K"));
    }

    [Fact]
    public async Task TheyStandAboveOneAnotherInOrder()
    {
        string trace = Path.Combine(_folder, "t.jsonl");
        var spec = BackstoreSpec.Parse($"{_folder}/d.img,size=1M,filter=readonly,filter=trace:{trace},filter=delay:read=1ms:write=2ms,filter=rate:iops=1000:bytes=10M:burst=1s");
        var log = new ListLog();
        await using (var unit = spec.Open(readOnly: false, writeCache: true, "id", log))
        {
            Assert.True(unit.Store.Geometry.ReadOnly);
            await Assert.ThrowsAsync<BackstoreException>(async () => await unit.Store.WriteAsync(0, new DataBuffer(new byte[512]), default, default));
            await unit.Store.ReadAsync(0, new DataBuffer(new byte[512]), default);
        }
        // What the first refuses does not reach the second.
        string line = Assert.Single(await File.ReadAllLinesAsync(trace, TestContext.Current.CancellationToken), l => l.Contains("\"length\":512", StringComparison.Ordinal));
        Assert.Contains("\"op\":\"read\"", line, StringComparison.Ordinal);
        Assert.Contains(log.Lines, l => l.Contains($"filters, from the initiator on: readonly, trace:{trace}, delay:read=1ms", StringComparison.Ordinal));
    }

    /// <summary>A filter that cannot be made leaves nothing open and nothing behind.</summary>
    [Fact]
    public async Task AFilterThatCannotBeMadeLeavesNothing()
    {
        string image = Path.Combine(_folder, "d.img");
        var spec = BackstoreSpec.Parse($"{image},size=1M,filter=delay:1ms,filter=trace:/nowhere/at/all");
        var error = Assert.Throws<UserException>(() => spec.Open(readOnly: false, writeCache: true, "id", NullLogger.Instance));
        Assert.Contains("filter trace: /nowhere/at/all cannot be opened", error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_folder, "d.img*"));
        Assert.Throws<BackstoreException>(() => spec.OpenStore(readOnly: false, NullLogger.Instance));
        await using var again = BackstoreSpec.Parse($"{image}").OpenStore(readOnly: false, NullLogger.Instance);
    }

    [Fact]
    public async Task FiltersThatAreUsedCanBeChangedByText()
    {
        var filter = FilterText.Parse("delay:5ms", s => new UserException(s)).Over(new MemoryBackstore(1 << 20), NullLogger.Instance);
        Assert.True(await FilterText.Parse("delay:flush=2s", s => new UserException(s)).TryChange(filter));
        Assert.Equal(new DelaySettings { Flush = TimeSpan.FromSeconds(2) }, ((DelayFilter)filter).Settings);
        Assert.True(await FilterText.Parse("delay:off", s => new UserException(s)).TryChange(filter));
        Assert.Equal(DelaySettings.Off, ((DelayFilter)filter).Settings);
        Assert.False(await FilterText.Parse("rate:off", s => new UserException(s)).TryChange(filter));
        await using var trace = FilterText.Parse("trace:off", s => new UserException(s)).Over(new MemoryBackstore(1 << 20), NullLogger.Instance);
        Assert.True(await FilterText.Parse($"trace:{_folder}/a:b", s => new UserException(s)).TryChange(trace));
        Assert.Equal($"{_folder}/a:b", ((TraceFilter)trace).Path);
        Assert.False(await FilterText.Parse("trace:off", s => new UserException(s)).TryChange(filter));
    }

    [Fact]
    public void EveryKindIsListedWithAnExampleThatParses()
    {
        var output = new StringWriter();
        Assert.Equal(0, BackstoresCommand.Run(output, null));
        string guide = File.ReadAllText(Path.Combine(Tidy.TidyTests.Root, "docs/filters.md"));
        foreach (var kind in FilterKinds.All)
        {
            Assert.Contains($"filter={kind.Syntax}", output.ToString(), StringComparison.Ordinal);
            Assert.Contains($"\n## {kind.Name}\n", guide, StringComparison.Ordinal);
            foreach (var option in kind.Options)
            {
                Assert.Contains($"    {option.Syntax} ", output.ToString(), StringComparison.Ordinal);
                Assert.Contains($"`{option.Name}", guide, StringComparison.Ordinal);
            }
            _ = BackstoreSpec.Parse($"memory:1M,filter={kind.Example},filter={kind.Name}:off");
            var one = new StringWriter();
            Assert.Equal(0, BackstoresCommand.Run(one, kind.Name));
            Assert.StartsWith($"filter={kind.Syntax}", one.ToString(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void SubtypesOfHandlersTakeThem()
    {
        var subtype = Subtype.Parse("slow=file:{path},size={size},filter=delay:5ms,filter=fault:read:error=medium");
        Assert.Null(subtype.WhyNot($"{_folder}/x.img"));
        Assert.Equal($"{_folder}/x.img", subtype.Image($"{_folder}/x.img"));
        Assert.Contains("is not a time", Assert.Throws<UserException>(() => Subtype.Parse("slow=file:{path},filter=delay:x")).Message, StringComparison.Ordinal);
    }
}
