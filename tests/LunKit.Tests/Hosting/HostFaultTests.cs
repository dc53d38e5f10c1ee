using System.Net;
using System.Net.Sockets;
using LunKit.Backstores;
using LunKit.Hosting;
using LunKit.Iscsi;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Hosting;

/// <summary>A host whose changes are refused, whose units end by themselves, and whose end fails in parts.</summary>
public sealed class HostFaultTests
{
    private const string One = "iqn.2026-11.test:one", Two = "iqn.2026-11.test:two", Initiator = "iqn.2026-11.test:initiator", Intruder = "iqn.2026-11.test:intruder";

    private sealed class Disk(Func<Task>? flush = null) : BackstoreFilter(new MemoryBackstore(1 << 20), AllFeatures)
    {
        public bool IsDisposed { get; private set; }
        public int Flushes { get; private set; }
        public override BackstoreFeatures Features => (Inner.Features | BackstoreFeatures.VolatileCache) & ~BackstoreFeatures.Ephemeral;
        public override async ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            Flushes++;
            if (flush is not null) await flush();
        }
        public override ValueTask DisposeAsync()
        {
            IsDisposed = true;
            return base.DisposeAsync();
        }
    }

    private static BlockUnit Unit(string name, IBackstore? store = null) => new(store ?? new Disk(), name, new VolatileUnitState(UnitIdentity.IdOf(name)));

    private static IscsiServer NewServer(int port = 0) => new(new IscsiServerOptions { Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, port))], Limits = new IscsiLimits { LogoutTimeoutSeconds = 1 } });

    private static Task<IscsiInitiator> ConnectAsync(IscsiServer server, string target, string initiator = Initiator) =>
        IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = server.Portals[0].EndPoint, TargetName = target, InitiatorName = initiator });

    private static (TargetHost Host, IscsiServer Server) Start()
    {
        var host = new TargetHost();
        var server = NewServer();
        host.AddFabric(server);
        foreach (string name in (string[])["a", "b"]) host.AddUnit(name, Unit(name));
        server.Start();
        return (host, server);
    }

    /// <summary>A change that is refused lets nobody in whom it names.</summary>
    [Fact]
    public async Task ARefusedChangeAdmitsNobody()
    {
        var (host, server) = Start();
        await using var scope = host;
        var acl = new NodeAcl(Initiator) { MappedLuns = new Dictionary<int, int> { [0] = 5 } };
        host.AddTarget(new Target { Name = One, Luns = new Dictionary<int, LogicalUnit>(), Acls = [acl] });
        host.Map(One, 0, "a");
        await using var one = await ConnectAsync(server, One);
        await Assert.ThrowsAnyAsync<Exception>(() => ConnectAsync(server, One, Intruder));
        var e = Assert.Throws<HostException>(() => host.Update(t => t.With(t[One] with
        {
            Acls = [acl with { MappedLuns = new Dictionary<int, int> { [0] = 5, [1] = 5 } }, new NodeAcl(Intruder)],
            Luns = new Dictionary<int, LogicalUnit>(t[One].Luns) { [1] = B(host) },
        })));
        Assert.Equal(HostError.Invalid, e.Error);
        Assert.Single(host.Targets[One].Acls);
        // The fabric has not taken it either.
        await Assert.ThrowsAnyAsync<Exception>(() => ConnectAsync(server, One, Intruder));

        static LogicalUnit B(TargetHost host) => host.Units.Single(u => u.Name == "b").Unit;
    }

    /// <summary>What hears that its command is aborted may use the host, from any thread, and wait for it: it is not called under the host's lock.</summary>
    [Fact]
    public async Task WhatHearsOfAnAbortMayUseTheHost()
    {
        var host = new TargetHost();
        var server = NewServer();
        await using var scope = host;
        host.AddFabric(server);
        TaskCompletionSource began = new(), told = new();
        host.AddUnit("a", Unit("a", new Hanging(() =>
        {
            if (Task.Run(() => host.Units.Count).Wait(TimeSpan.FromSeconds(10))) told.SetResult();
            else told.SetException(new TimeoutException("the host is locked"));
        }, began)));
        host.AddTarget(new Target { Name = One, Luns = new Dictionary<int, LogicalUnit>() });
        host.Map(One, 0, "a");
        server.Start();
        await using var one = await ConnectAsync(server, One);
        await one.ExecuteAsync(0, new byte[6]);
        var read = one.ExecuteAsync(0, [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], dataInLength: 512);
        await began.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        host.Unmap(One, 0);
        await told.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        Assert.Equal(ScsiStatus.TaskAborted, (await read).Status);
    }

    private sealed class Hanging(Action told, TaskCompletionSource began) : BackstoreFilter(new MemoryBackstore(1 << 20), AllFeatures)
    {
        public override async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
        {
            var over = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using var registration = cancellationToken.Register(() =>
            {
                told();
                over.SetCanceled();
            });
            began.SetResult();
            await over.Task;
        }
    }

    /// <summary>Nobody of that name could log in.</summary>
    [Fact]
    public async Task TwoLunsAtOneNumberAreRefused()
    {
        var (host, _) = Start();
        await using var scope = host;
        var target = new Target { Name = One, Luns = new Dictionary<int, LogicalUnit>(), Acls = [new NodeAcl(Initiator) { MappedLuns = new Dictionary<int, int> { [0] = 5, [1] = 5 } }] };
        Assert.Contains("two LUNs are mapped to LUN 5", Assert.Throws<HostException>(() => host.AddTarget(target)).Message, StringComparison.Ordinal);
    }

    /// <summary>A typing error in one target of a change ends no session of another.</summary>
    [Fact]
    public async Task ARefusedChangeEndsNoSession()
    {
        var (host, server) = Start();
        await using var scope = host;
        host.AddTarget(new Target { Name = One, Luns = new Dictionary<int, LogicalUnit>() });
        host.Map(One, 0, "a");
        await using var one = await ConnectAsync(server, One);
        await one.ExecuteAsync(0, new byte[6]);
        Assert.Throws<HostException>(() => host.Update(t => t.Without(One).With(new Target { Name = "disk", Luns = new Dictionary<int, LogicalUnit>() })));
        Assert.True(host.Targets.Contains(One));
        await Task.Delay(300, TestContext.Current.CancellationToken);
        Assert.Equal(ScsiStatus.Good, (await one.ExecuteAsync(0, new byte[6])).Status);
    }

    /// <summary>A fabric that fails in its end does not keep units from being flushed.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task UnitsAreFlushedWhateverFailsBefore(bool fabric)
    {
        var disk = new Disk();
        var host = new TargetHost();
        if (fabric) host.AddFabric(new Failing());
        host.AddUnit("a", Unit("a", disk));
        await Record.ExceptionAsync(() => host.StopAsync(() => fabric ? Task.CompletedTask : throw new IOException("a handler")));
        Assert.True(disk.IsDisposed && disk.Flushes > 0);
    }

    private sealed class Failing : IFabric
    {
        public string Name => "failing";
        public void Check(Target target) { }
        public void SetTarget(Target target) { }
        public bool RemoveTarget(string name) => false;
        public IReadOnlyList<SessionSnapshot> Sessions => [];
        public bool EndSession(string id, string reason) => false;
        public void StopAccepting() => throw new IOException("no listener");
        public Task DrainAsync() => throw new IOException("no descriptor");
        public ValueTask DisposeAsync() => default;
    }

    /// <summary>A unit whose removal was slower than its limit has its time again when the host stops.</summary>
    [Fact]
    public async Task StoppingWaitsForAUnitThatIsSlowToGo()
    {
        var gate = new TaskCompletionSource();
        var disk = new Disk(() => gate.Task);
        var host = new TargetHost();
        host.AddUnit("a", Unit("a", disk));
        Assert.False((await host.RemoveUnitAsync("a", TimeSpan.FromMilliseconds(50))).IsClosed);
        var stopping = host.StopAsync();
        await Task.Delay(200, TestContext.Current.CancellationToken);
        bool gaveUp = stopping.IsCompleted;
        gate.SetResult();
        await stopping;
        Assert.False(gaveUp);
    }

    /// <summary>How long a stop takes with a command that does not end: once the limit, not twice.</summary>
    [Fact]
    public async Task AStopDrainsOnce()
    {
        var fault = new FaultFilter(new MemoryBackstore(1 << 20), new FaultSettings(new FaultRule { Effect = FaultEffect.Hang, Operations = OperationClasses.Write, HeedsCancellation = false }));
        var host = new TargetHost();
        var server = NewServer();
        host.AddFabric(server);
        host.AddUnit("a", Unit("a", fault));
        host.AddTarget(new Target { Name = One, Luns = new Dictionary<int, LogicalUnit>() });
        host.Map(One, 0, "a");
        server.Start();
        var one = await ConnectAsync(server, One);
        await one.ExecuteAsync(0, new byte[6]);
        _ = one.ExecuteAsync(0, [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0], new byte[512]);
        await fault.WhenHangingAsync(1, TestContext.Current.CancellationToken);
        long began = Environment.TickCount64;
        long fabricsGone = 0;
        var stopping = host.StopAsync(() =>
        {
            fabricsGone = Environment.TickCount64 - began;
            return Task.CompletedTask;
        });
        await Task.WhenAny(stopping, Task.Delay(40_000, TestContext.Current.CancellationToken));
        fault.Settings = FaultSettings.Off;
        await stopping;
        Assert.InRange(fabricsGone, 1, 15_000);
    }

    /// <summary>Who has bound an address has it.</summary>
    [Fact]
    public async Task ABoundPortIsTaken()
    {
        await using var one = NewServer();
        one.Bind();
        await using var two = NewServer(one.Portals[0].EndPoint.Port);
        Assert.Throws<SocketException>(two.Bind);
    }

    /// <summary>A fabric that cannot serve what is there is not taken, and keeps nothing.</summary>
    [Fact]
    public async Task AFabricThatRefusesIsNotTaken()
    {
        await using var host = new TargetHost();
        host.AddUnit("a", Unit("a"));
        host.AddTarget(new Target { Name = One, Luns = new Dictionary<int, LogicalUnit>() });
        host.AddTarget(new Target { Name = Two, Luns = new Dictionary<int, LogicalUnit>() });
        host.Map(One, 0, "a");
        var fabric = new FakeFabric { Refuses = Two };
        Assert.IsType<HostException>(Record.Exception(() => host.AddFabric(fabric)));
        Assert.Empty(fabric.Served);
    }

    /// <summary>A unit that serves the first part of what is behind it is erased: it does not become larger meanwhile, for the rest is not erased.</summary>
    [Fact]
    public async Task WhatIsBeingErasedDoesNotGrow()
    {
        TaskCompletionSource inFlush = new(), go = new();
        var store = new Slow(new MemoryBackstore(4 << 20), async () =>
        {
            inFlush.TrySetResult();
            await go.Task;
        });
        await store.WriteAsync(3 << 20, new DataBuffer(Enumerable.Repeat((byte)0xAB, 512).ToArray()), WriteOptions.None, TestContext.Current.CancellationToken);
        await using var unit = new TestUnit(store, new BlockUnitOptions());
        unit.Unit.ServeFirst(2 << 20);
        unit.Run("00 00 00 00 00 00");
        unit.Good("48 A2 00 00 00 00 00 00 00 00");
        await inFlush.Task;
        unit.Checks(Sense.SanitizeInProgress, "28 00 00000000 00 0001 00");
        var refused = await Record.ExceptionAsync(() => unit.Unit.ResizeAsync(4 << 20).AsTask());
        go.SetResult();
        unit.Run("00 00 00 00 00 00");
        for (int i = 0; i < 200 && unit.Run("00 00 00 00 00 00").Result.Status != ScsiStatus.Good; i++) await Task.Delay(10, TestContext.Current.CancellationToken);
        string old = unit.Unit.BlockCount > 6144 ? Convert.ToHexString(unit.Good("28 00 00001800 00 0001 00")[..4]) : "refused";
        Assert.Equal((true, "refused"), (refused is BackstoreException, old));
    }

    private sealed class Slow(IBackstore inner, Func<Task> flush) : BackstoreFilter(inner, AllFeatures)
    {
        public override async ValueTask FlushAsync(CancellationToken cancellationToken) => await flush();
    }

    /// <summary>A unit that its owner has closed without the host does not make every later change of other targets fail.</summary>
    [Fact]
    public async Task AUnitThatEndsByItselfHoldsUpNobody()
    {
        var (host, _) = Start();
        await using var scope = host;
        host.AddTarget(new Target { Name = One, Luns = new Dictionary<int, LogicalUnit>() });
        host.AddTarget(new Target { Name = Two, Luns = new Dictionary<int, LogicalUnit>() });
        host.Map(One, 0, "a");
        await host.Units.Single(u => u.Name == "a").Unit.CloseAsync(TimeSpan.FromSeconds(10));
        host.Map(Two, 0, "b");
    }

    /// <summary>Its name would be taken for ever.</summary>
    [Fact]
    public async Task AClosedUnitIsNotTaken()
    {
        await using var host = new TargetHost();
        var unit = Unit("a");
        Assert.True(await unit.CloseAsync(TimeSpan.FromSeconds(10)));
        Assert.Equal(HostError.Invalid, Assert.Throws<HostException>(() => host.AddUnit("a", unit)).Error);
    }
}
