using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>Current mode parameters that outlive the process: what is kept is what is in force, whatever comes in between.</summary>
public sealed class KeptModesTests
{
    private const string TestUnitReady = "00 00 00 00 00 00", Select = "15 10 00 00 18 00", SelectAndSave = "15 11 00 00 18 00";
    private static readonly byte[] s_off = Page(0), s_on = Page(4);

    private readonly VolatileUnitStateProbe _state = new();

    // The caching page with WCE.
    private static byte[] Page(byte cache) => [0, 0, 0, 0, 0x08, 0x12, cache, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    private sealed class Cached() : BackstoreFilter(new MemoryBackstore(1 << 20), AllFeatures)
    {
        public int Flushes { get; private set; }
        public bool Fails { get; set; }
        public override BackstoreFeatures Features => (Inner.Features | BackstoreFeatures.VolatileCache) & ~BackstoreFeatures.Ephemeral;
        public override ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            if (Fails) throw new BackstoreException(BackstoreError.NoSpace, "no space");
            Flushes++;
            return ValueTask.CompletedTask;
        }
    }

    private TestUnit Unit(UnitSuccession succession, IUnitStateStore? state = null, Cached? disk = null, int nexuses = 1) =>
        new(disk ?? new Cached(), new BlockUnitOptions { WriteCache = false, Succession = succession }, state ?? _state, nexuses: nexuses);

    private bool IsOnForTheNext => new UnitMemory(_state).Read(s => s.CurrentModePages).Count > 0;

    /// <summary>The save of a MODE SELECT takes its time; a reset ends it meanwhile, and initiators go back to what is saved.</summary>
    [Fact]
    public async Task AResetDuringASaveIsKept()
    {
        using ManualResetEventSlim inSave = new(), gate = new();
        await using (var unit = Unit(UnitSuccession.First))
        {
            _state.Before = () =>
            {
                inSave.Set();
                gate.Wait();
            };
            var select = unit.Start(new TestCommand(), Select, s_on).AsTask();
            Assert.True(inSave.Wait(TimeSpan.FromSeconds(30)));
            var reset = unit.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
            gate.Set();
            await select;
            await reset;
            Assert.False(unit.Unit.IsWriteCacheEnabled);
        }
        Assert.False(IsOnForTheNext);
    }

    /// <summary>What cannot be kept is refused, and not in force; or others would rely on what was.</summary>
    [Fact]
    public async Task AChangeThatIsRefusedIsNone()
    {
        await using var unit = Unit(UnitSuccession.First, nexuses: 2);
        _state.Fails = true;
        Assert.Equal(ScsiStatus.CheckCondition, unit.Run(Select, s_on).Result.Status);
        Assert.False(unit.Unit.IsWriteCacheEnabled);
        unit.Good(TestUnitReady, nexus: 1);
        _state.Fails = false;
        unit.Good(Select, s_on);
        Assert.True(unit.Unit.IsWriteCacheEnabled && IsOnForTheNext);
        unit.Checks(Sense.ModeParametersChanged, TestUnitReady, nexus: 1);
    }

    /// <summary>What the operator has set is what a reset restores, until an initiator saves another value.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task TheOperatorsCacheOutlivesResets(bool isOn)
    {
        await using var unit = new TestUnit(new Cached(), new BlockUnitOptions { WriteCache = !isOn, Succession = UnitSuccession.First }, _state);
        Assert.True(await unit.Unit.SetWriteCacheAsync(isOn));
        unit.Checks(Sense.ModeParametersChanged, TestUnitReady);
        unit.Good(Select, isOn ? s_off : s_on);
        await unit.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
        // Behind what the reset keeps.
        await unit.Unit.ModePages.KeepAsync();
        Assert.Equal((isOn, true), (unit.Unit.IsWriteCacheEnabled, IsOnForTheNext));
        unit.Checks(Sense.BusDeviceResetOccurred, TestUnitReady);
        unit.Good(SelectAndSave, isOn ? s_off : s_on);
        await unit.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
        Assert.Equal(!isOn, unit.Unit.IsWriteCacheEnabled);
    }

    /// <summary>A reset while the operator's change is being kept keeps what was before; the change is in force and kept all the same.</summary>
    [Fact]
    public async Task AResetDuringTheOperatorsChangeLosesNothing()
    {
        using ManualResetEventSlim inSave = new(), gate = new();
        await using var unit = Unit(UnitSuccession.First);
        _state.Before = () =>
        {
            inSave.Set();
            gate.Wait();
        };
        var change = Task.Run(() => unit.Unit.SetWriteCacheAsync(true).AsTask());
        Assert.True(inSave.Wait(TimeSpan.FromSeconds(30)));
        var reset = unit.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
        gate.Set();
        Assert.True(await change);
        await reset;
        Assert.Equal((true, true), (unit.Unit.IsWriteCacheEnabled, IsOnForTheNext));
    }

    /// <summary>The operator switches the cache off, and something of that fails: when he does it again it is done.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ASwitchOffThatFailedIsRepeated(bool saveFails)
    {
        var disk = new Cached();
        await using var unit = Unit(UnitSuccession.First, disk: disk);
        Assert.True(await unit.Unit.SetWriteCacheAsync(true));
        (_state.Fails, disk.Fails) = (saveFails, !saveFails);
        await Assert.ThrowsAnyAsync<IOException>(() => unit.Unit.SetWriteCacheAsync(false).AsTask());
        (_state.Fails, disk.Fails) = (false, false);
        Assert.True(await unit.Unit.SetWriteCacheAsync(false));
        Assert.Equal((1, false, false), (disk.Flushes, unit.Unit.IsWriteCacheEnabled, IsOnForTheNext));
    }

    /// <summary>A save that hangs when the unit is closed holds up its end: the state is another unit's then.</summary>
    [Fact]
    public async Task NothingIsSavedBehindTheEndOfTheUnit()
    {
        var unit = Unit(UnitSuccession.First);
        unit.Good(Select, s_on);
        using ManualResetEventSlim inSave = new(), gate = new();
        _state.Before = () =>
        {
            inSave.Set();
            gate.Wait();
        };
        await unit.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
        Assert.True(inSave.Wait(TimeSpan.FromSeconds(30)));
        var closing = unit.Unit.CloseAsync(TimeSpan.FromSeconds(30));
        await Task.Delay(100, TestContext.Current.CancellationToken);
        Assert.False(closing.IsCompleted);
        gate.Set();
        Assert.True(await closing);
        int saves = _state.Saves;
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.Equal((saves, false), (_state.Saves, IsOnForTheNext));
    }

    /// <summary>What another time has left, before the target was started anew, holds for nobody, also not later in this one.</summary>
    [Theory]
    [InlineData(7, 7, true)]
    [InlineData(7, 8, false)]
    public async Task WhatIsKeptHoldsInItsTime(int first, int second, bool holds)
    {
        await using (var unit = Unit(UnitSuccession.First with { Epoch = (ulong)first })) unit.Good(Select, s_on);
        await using (var unit = Unit(UnitSuccession.Later with { Epoch = (ulong)second })) Assert.Equal((holds, holds), (unit.Unit.IsWriteCacheEnabled, unit.Unit.ContinuesModes));
        await using (var unit = Unit(UnitSuccession.Later with { Epoch = (ulong)second })) Assert.Equal((holds, true), (unit.Unit.IsWriteCacheEnabled, unit.Unit.ContinuesModes));
    }

    /// <summary>The first process of a time clears what is there, so that the second does not find it.</summary>
    [Fact]
    public async Task TheFirstProcessClearsWhatIsThere()
    {
        await using (var unit = Unit(UnitSuccession.First)) unit.Good(Select, s_on);
        await using (var unit = Unit(UnitSuccession.First)) Assert.False(unit.Unit.IsWriteCacheEnabled);
        await using (var unit = Unit(UnitSuccession.Later)) Assert.Equal((false, true), (unit.Unit.IsWriteCacheEnabled, unit.Unit.ContinuesModes));
    }

    /// <summary>Where no process comes after this one nothing is written for it.</summary>
    [Fact]
    public async Task WithoutASuccessorNothingIsKept()
    {
        await using var unit = Unit(UnitSuccession.None);
        int saves = _state.Saves;
        unit.Good(Select, s_on);
        await unit.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
        Assert.Equal((saves, false), (_state.Saves, IsOnForTheNext));
        Assert.True(await unit.Unit.SetWriteCacheAsync(false));
    }
}
