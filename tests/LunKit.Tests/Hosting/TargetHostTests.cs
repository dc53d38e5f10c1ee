using LunKit.Backstores;
using LunKit.Hosting;
using LunKit.LogicalUnits;
using LunKit.Targets;

namespace LunKit.Tests.Hosting;

/// <summary>One owner of units, targets and fabrics: each change holds as a whole or not at all, and nothing else is disturbed.</summary>
public sealed class TargetHostTests
{
    private const string One = "iqn.test:one", Two = "iqn.test:two";

    private readonly FakeFabric _fabric = new();

    /// <summary>A disk whose last flush may fail, or whose closing hangs.</summary>
    private sealed class Disk(Exception? failure = null, Task? hangs = null) : BackstoreFilter(new MemoryBackstore(1 << 20), AllFeatures)
    {
        public bool IsDisposed { get; private set; }
        public override BackstoreFeatures Features => (Inner.Features | BackstoreFeatures.VolatileCache) & ~BackstoreFeatures.Ephemeral;
        public override async ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            if (hangs is not null) await hangs;
            if (failure is not null) throw failure;
        }
        public override ValueTask DisposeAsync()
        {
            IsDisposed = true;
            return base.DisposeAsync();
        }
    }

    private static BlockUnit Unit(string name, IBackstore? store = null) => new(store ?? new Disk(), name, new VolatileUnitState(UnitIdentity.IdOf(name)));

    private TargetHost Host(params string[] units)
    {
        var host = new TargetHost();
        host.AddFabric(_fabric);
        foreach (string unit in units) host.AddUnit(unit, Unit(unit));
        return host;
    }

    private static Target Target(string name) => new() { Name = name, Luns = new Dictionary<int, LogicalUnit>() };

    private static HostError Refused(Action change, string why)
    {
        var e = Assert.Throws<HostException>(change);
        Assert.Contains(why, e.Message, StringComparison.Ordinal);
        return e.Error;
    }

    [Fact]
    public async Task FabricsAreToldOfWhatChangesAndOfNoMore()
    {
        await using var host = Host("a", "b");
        host.AddTarget(Target(One));
        host.AddTarget(Target(Two));
        host.Map(One, 0, "a");
        Assert.Equal($"set {One}:; set {Two}:; set {One}: 0=a", _fabric.Told);
        host.Map(Two.ToUpperInvariant(), 5, "b");
        host.UpdateTarget(One, t => t with { Luns = new Dictionary<int, LogicalUnit>(t.Luns) });
        Assert.Equal($"set {Two}: 5=b", _fabric.Told);
        host.Unmap(One, 0);
        host.RemoveTarget(Two);
        Assert.Equal($"set {One}:; remove {Two}", _fabric.Told);
        Assert.Equal([One], host.Targets.All.Select(t => t.Name));
        // A fabric that comes later gets what is there.
        var late = new FakeFabric("late");
        host.AddFabric(late);
        Assert.Equal($"set {One}:", late.Told);
    }

    /// <summary>One unit in two targets, and a change of both that is one step.</summary>
    [Fact]
    public async Task SeveralTargetsChangeAsOneStep()
    {
        await using var host = Host("a");
        host.AddTarget(Target(One));
        host.AddTarget(Target(Two));
        host.Map(One, 0, "a");
        host.Map(Two, 7, "a");
        Assert.Equal([(One, 0), (Two, 7)], Assert.Single(host.Units).Mappings);
        _fabric.Log.Clear();
        host.Update(t => t.Without(Two).With(t[One] with { Alias = "new" }));
        Assert.Equal($"remove {Two}; set {One}: 0=a", _fabric.Told);
    }

    /// <summary>A fabric refuses the second of two targets: none has changed, at no fabric.</summary>
    [Fact]
    public async Task WhatAFabricRefusesIsTakenBack()
    {
        var other = new FakeFabric("other") { Refuses = Two };
        await using var host = Host("a");
        host.AddFabric(other);
        host.AddTarget(Target(One));
        _fabric.Log.Clear();
        Assert.Equal(HostError.Invalid, Refused(() => host.Update(t => t.With(t[One] with { Alias = "new" }).With(Target(Two))), "is not to be served"));
        Assert.Equal(["LunKit", "LunKit"], new[] { _fabric, other }.Select(f => Assert.Single(f.Served.Values).Alias));
        Assert.Equal("LunKit", Assert.Single(host.Targets.All).Alias);
    }

    [Fact]
    public async Task WhatIsWrongIsRefusedAndChangesNothing()
    {
        await using var host = Host("a");
        host.AddTarget(Target(One));
        host.Map(One, 0, "a");
        _fabric.Log.Clear();
        Assert.Equal(HostError.Taken, Refused(() => host.AddTarget(Target(One.ToUpperInvariant())), "there is a target"));
        Assert.Equal(HostError.Taken, Refused(() => host.Map(One, 0, "a"), "LUN 0 is unit 'a' already"));
        Assert.Equal(HostError.NotFound, Refused(() => host.Map(One, 1, "b"), "there is no unit 'b'"));
        Assert.Equal(HostError.NotFound, Refused(() => host.Map(Two, 1, "a"), $"there is no target '{Two}'"));
        Assert.Equal(HostError.Invalid, Refused(() => host.Map(One, 16384, "a"), "LUN 16384 is not 0 to 16383"));
        Assert.Equal(HostError.NotFound, Refused(() => host.Unmap(One, 3), "has no LUN 3"));
        Assert.Equal(HostError.NotFound, Refused(() => host.RemoveTarget(Two), "there is no target"));
        Assert.Equal(HostError.NotFound, Refused(() => host.EndSession("fake-9", "test"), "there is no session 'fake-9'"));
        await using var foreign = Unit("foreign");
        Assert.Equal(HostError.NotFound, Refused(() => host.UpdateTarget(One, t => t with { Luns = new Dictionary<int, LogicalUnit> { [4] = foreign } }), "the host does not have"));
        Assert.Equal(HostError.Taken, Refused(() => host.AddUnit("a", foreign), "there is a unit 'a' already"));
        Assert.Equal(HostError.Invalid, Refused(() => host.AddUnit("", foreign), "a unit needs a name"));
        await using var twin = Unit("a");
        Assert.Equal(HostError.Taken, Refused(() => host.AddUnit("twin", twin), "has the identity of unit 'a'"));
        Assert.Equal(HostError.Taken, Refused(() => host.AddFabric(new FakeFabric()), "there is a fabric 'fake' already"));
        Assert.Equal("end fake-9: test", _fabric.Told);
    }

    [Fact]
    public async Task ARemovedUnitIsUnmappedClosedAndForgotten()
    {
        var disk = new Disk();
        await using var host = Host("b");
        host.AddUnit("a", Unit("a", disk));
        host.AddTarget(Target(One));
        host.Map(One, 0, "a");
        host.Map(One, 1, "b");
        _fabric.Log.Clear();
        Assert.Equal(new UnitEnd(true, null), await host.RemoveUnitAsync("a"));
        Assert.Equal($"set {One}: 1=b", _fabric.Told);
        Assert.True(disk.IsDisposed);
        Assert.Equal("b", Assert.Single(host.Units).Name);
        Assert.Equal(HostError.NotFound, (await Assert.ThrowsAsync<HostException>(() => host.RemoveUnitAsync("a"))).Error);
        host.AddUnit("a", Unit("a"));
    }

    /// <summary>Its storage does not answer: the name stays taken, for the storage is in use, until it has answered.</summary>
    [Fact]
    public async Task AUnitThatDoesNotCloseIsStuckUntilItDoes()
    {
        var gate = new TaskCompletionSource();
        await using var host = Host();
        host.AddUnit("a", Unit("a", new Disk(hangs: gate.Task)));
        host.AddTarget(Target(One));
        var removing = host.RemoveUnitAsync("a", TimeSpan.FromMilliseconds(50));
        Assert.Equal(HostError.InUse, Refused(() => host.Map(One, 0, "a"), "is being removed"));
        Assert.Equal(new UnitEnd(false, null), await removing);
        Assert.Equal(UnitPhase.Stuck, Assert.Single(host.Units).Phase);
        await using var next = Unit("a");
        Assert.Equal(HostError.Taken, Refused(() => host.AddUnit("a", next), "which is still closing"));
        // Asked again, it says the same.
        Assert.False((await host.RemoveUnitAsync("a")).IsClosed);
        gate.SetResult();
        for (int i = 0; host.Units.Count > 0; i++)
        {
            Assert.True(i < 500);
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public async Task AFlushThatFailsIsTold()
    {
        await using var host = Host();
        host.AddUnit("a", Unit("a", new Disk(new BackstoreException(BackstoreError.NoSpace, "no space"))));
        Assert.Contains("no space", (await host.RemoveUnitAsync("a")).FlushFailure!.Message, StringComparison.Ordinal);
        Assert.Empty(host.Units);
    }

    [Fact]
    public async Task ItStopsInOrderAndSaysWhatMayBeLost()
    {
        var disk = new Disk();
        var host = Host();
        host.AddUnit("good", Unit("good", disk));
        host.AddUnit("bad", Unit("bad", new Disk(new BackstoreException(BackstoreError.NoSpace, "no space"))));
        bool wasOpen = false;
        var lost = await host.StopAsync(() =>
        {
            wasOpen = !disk.IsDisposed && _fabric.Log is ["stop accepting", "drain", "dispose"];
            return Task.CompletedTask;
        });
        Assert.True(wasOpen);
        Assert.True(disk.IsDisposed);
        Assert.Equal("bad: data may be lost, the last flush failed: no space", Assert.Single(lost));
        Assert.Equal(HostError.Stopping, Refused(() => host.AddTarget(Target(One)), "is stopping"));
        Assert.Same(lost, await host.StopAsync());
        await host.DisposeAsync();
    }

    [Fact]
    public void DefinitionsAreComparedByWhatTheySay()
    {
        var chap = new ChapCredential("u", "a secret of some length");
        Target New() => Target(One) with
        {
            Chap = [chap with { }], Acls = [new NodeAcl("iqn.i") { Chap = chap with { }, MappedLuns = new Dictionary<int, int> { [0] = 1 } }], MutualChap = chap with { Name = "t" },
        };
        var target = New();
        Assert.True(target.IsSameAs(New()));
        Target[] others =
        [
            New() with { Alias = "x" }, New() with { Chap = [] }, New() with { Acls = [] }, New() with { MutualChap = null }, New() with { ExplicitAlua = true }, New() with { RedirectTo = "h:1" },
            New() with { RedirectPermanently = true }, New() with { Acls = [new NodeAcl("iqn.i") { Chap = chap }] }, New() with { Acls = [new NodeAcl("iqn.i") { Chap = chap, MappedLuns = new Dictionary<int, int> { [0] = 2 } }] },
            New() with { Luns = new Dictionary<int, LogicalUnit> { [0] = Unit("a") } }, New() with { Name = Two },
        ];
        Assert.All(others, other => Assert.False(target.IsSameAs(other)));
    }
}
