using System.Reflection;
using LunKit.Backstores;

namespace LunKit.Tests.Backstores;

public sealed class BackstoreGuardTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    /// <summary>Every call waits until the test lets it go on; a call after the disposal is counted.</summary>
    private sealed class Gated(IBackstore inner, BackstoreFeatures known) : BackstoreFilter(inner, known)
    {
        public TaskCompletionSource Gate { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public bool IsDisposed { get; private set; }
        public int UnderDisposal { get; private set; }

        private async ValueTask WaitAsync()
        {
            await Gate.Task;
            if (IsDisposed) UnderDisposal++;
        }

        public override async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => await WaitAsync();
        public override async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => await WaitAsync();
        public override async ValueTask FlushAsync(CancellationToken cancellationToken) => await WaitAsync();
        public override async ValueTask<long> MeasureAsync()
        {
            await WaitAsync();
            return 0;
        }

        public override async ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
        {
            await WaitAsync();
            return new(length, true);
        }

        public override ValueTask DisposeAsync()
        {
            IsDisposed = true;
            return base.DisposeAsync();
        }
    }

    public static TheoryData<string> Calls => ["read", "write", "forced write", "flush", "discard", "zeroes", "same", "compare", "extent", "measure"];

    private static Task Call(BackstoreGuard guard, string call, CancellationToken stop)
    {
        var data = new DataBuffer(new byte[512]);
        return call switch
        {
            "read" => guard.ReadAsync(0, data, stop).AsTask(),
            "write" => guard.WriteAsync(0, data, WriteOptions.None, stop).AsTask(),
            "forced write" => guard.WriteAsync(0, data, WriteOptions.ForceUnitAccess, stop).AsTask(),
            "flush" => guard.FlushAsync(stop).AsTask(),
            "discard" => guard.DiscardAsync(0, 512, stop).AsTask(),
            "zeroes" => guard.WriteZeroesAsync(0, 512, WriteOptions.None, stop).AsTask(),
            "same" => guard.WriteSameAsync(0, 512, data, WriteOptions.None, stop).AsTask(),
            "compare" => guard.CompareAndWriteAsync(0, data, data, WriteOptions.None, stop).AsTask(),
            "extent" => guard.ExtentAsync(0, 512, stop).AsTask(),
            _ => guard.MeasureAsync().AsTask(),
        };
    }

    [Theory, MemberData(nameof(Calls))]
    public async Task DisposalWaitsForACallThatWasCancelled(string call)
    {
        foreach (var features in (BackstoreFeatures[])[BackstoreFeatures.Concurrent | BackstoreFeatures.Extents, BackstoreFeatures.Extents])
        {
            var store = new Gated(new MemoryBackstore(1 << 20), features);
            var guard = new BackstoreGuard(store);
            using var cancel = new CancellationTokenSource();
            var running = Call(guard, call, cancel.Token);
            await cancel.CancelAsync();
            var disposal = guard.DisposeAsync().AsTask();
            Assert.False(disposal.IsCompleted);
            Assert.False(store.IsDisposed);
            store.Gate.SetResult();
            await disposal.WaitAsync(s_limit, TestContext.Current.CancellationToken);
            await Task.WhenAny(running);
            Assert.Equal((true, 0), (store.IsDisposed, store.UnderDisposal));
            await Assert.ThrowsAsync<BackstoreException>(() => Call(guard, call, default));
        }
    }

    [Fact]
    public async Task DisposalWaitsForNothingWhenNothingRuns()
    {
        var store = new Gated(new MemoryBackstore(1 << 20), BackstoreFeatures.Concurrent);
        store.Gate.SetResult();
        var guard = new BackstoreGuard(store);
        await guard.ReadAsync(0, new DataBuffer(new byte[512]), default);
        await guard.DisposeAsync();
        await guard.DisposeAsync();
        Assert.True(store.IsDisposed);
    }

    /// <summary>A call that throws at once, instead of in its task, is over, too.</summary>
    [Fact]
    public async Task DisposalDoesNotWaitForACallThatThrew()
    {
        var guard = new BackstoreGuard(new Throwing(new MemoryBackstore(1 << 20)));
        await Assert.ThrowsAsync<IOException>(() => Call(guard, "read", default));
        await Assert.ThrowsAsync<IOException>(() => Call(guard, "write", default));
        await guard.DisposeAsync().AsTask().WaitAsync(s_limit, TestContext.Current.CancellationToken);
    }

    private sealed class Throwing(IBackstore inner) : BackstoreFilter(inner, AllFeatures)
    {
        public override ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => throw new IOException("no");
        public override ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => throw new IOException("no");
    }

    private sealed class PlainFilter(IBackstore inner, BackstoreFeatures known) : BackstoreFilter(inner, known);

    private static readonly BackstoreGeometry s_geometry = new(8192);

    /// <summary>Records what is called, and returns something of the right type.</summary>
    public class Recorder : DispatchProxy
    {
        public List<(MethodInfo Method, object?[] Arguments)> Calls { get; } = [];

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            Calls.Add((targetMethod!, args ?? []));
            if (targetMethod!.Name == "get_Features") return BackstoreFilter.AllFeatures;
            if (targetMethod.Name == "get_Geometry") return s_geometry;
            var type = targetMethod.ReturnType;
            return type.IsValueType && type != typeof(void) ? Activator.CreateInstance(type) : null;
        }
    }

    /// <summary>A member that is added to the interface and forgotten in the filter fails this: it would run into its default.</summary>
    [Fact]
    public void AFilterForwardsEveryMember()
    {
        var map = typeof(PlainFilter).GetInterfaceMap(typeof(IBackstore));
        var disposal = typeof(PlainFilter).GetInterfaceMap(typeof(IAsyncDisposable));
        var members = map.InterfaceMethods.Zip(map.TargetMethods).Concat(disposal.InterfaceMethods.Zip(disposal.TargetMethods))
            .Where(m => m.First.IsAbstract || !m.First.IsPrivate).ToList();
        Assert.True(members.Count > 15);
        foreach (var (member, target) in members)
        {
            Assert.True(target is not null && target.DeclaringType == typeof(BackstoreFilter), $"BackstoreFilter does not forward {member}");
            Assert.True(target.IsVirtual && !target.IsFinal, $"{target} cannot be overridden");
            var inner = DispatchProxy.Create<IBackstore, Recorder>();
            var recorder = (Recorder)(object)inner;
            var arguments = member.GetParameters().Select(Sample).ToArray();
            var filter = new PlainFilter(inner, BackstoreFilter.AllFeatures);
            recorder.Calls.Clear();
            target.Invoke(filter, arguments);
            // The guard between the two reads what the inner one declares.
            string name = member.Name.Split('.')[^1];
            var (called, passed) = Assert.Single(recorder.Calls, c => c.Method.Name.Split('.')[^1] == name || c.Method.Name is not ("get_Features" or "get_Geometry"));
            Assert.Equal(name, called.Name.Split('.')[^1]);
            Assert.Equal(arguments, passed);
        }
    }

    private static object? Sample(ParameterInfo parameter) => parameter.Name == "lengthBytes" ? s_geometry.LengthBytes
        : parameter.ParameterType == typeof(long) ? 4096L : parameter.ParameterType == typeof(DataBuffer) ? new DataBuffer(new byte[512])
        : parameter.ParameterType == typeof(Action) ? () => { } : Activator.CreateInstance(parameter.ParameterType);

    [Fact]
    public void AFilterDeclaresWhatItKnows()
    {
        Assert.Equal(Enum.GetValues<BackstoreFeatures>().Aggregate((a, b) => a | b), BackstoreFilter.AllFeatures);
        var inner = DispatchProxy.Create<IBackstore, Recorder>();
        Assert.Equal(BackstoreFeatures.Concurrent | BackstoreFeatures.VolatileCache | BackstoreFeatures.Ephemeral, new PlainFilter(inner, BackstoreFeatures.Concurrent).Features);
    }
}
