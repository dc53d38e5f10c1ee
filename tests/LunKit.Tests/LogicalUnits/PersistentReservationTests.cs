using System.Buffers.Binary;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using static LunKit.Tests.LogicalUnits.ReserveOut;

namespace LunKit.Tests.LogicalUnits;

public class PersistentReservationTests
{
    private const string Read = "28 00 00000000 00 0001 00", Write = "2A 00 00000000 00 0001 00", Tur = "00 00 00 00 00 00";

    private static TestUnit Registered(int nexuses = 3, IUnitStateStore? state = null, byte flags = 0)
    {
        var unit = new TestUnit(nexuses: nexuses, state: state);
        // The last nexus stays unregistered.
        for (int i = 0; i < nexuses - 1; i++) unit.Good(Out(0), List(0, (ulong)i + 1, flags), i);
        return unit;
    }

    // Holder, registrant, stranger: may they read, may they write (SPC-5 table 69)?
    [Theory]
    [InlineData(1, "rw r- r-")]
    [InlineData(3, "rw -- --")]
    [InlineData(5, "rw rw r-")]
    [InlineData(6, "rw rw --")]
    [InlineData(7, "rw rw r-")]
    [InlineData(8, "rw rw --")]
    public async Task TypesAllowWhatTheyAllow(int type, string expected)
    {
        await using var unit = Registered();
        unit.Good(Out(1, type), List(1, 0));
        string actual = string.Join(' ', Enumerable.Range(0, 3).Select(n =>
            (unit.Run(Read, nexus: n).Result.Status == ScsiStatus.Good ? "r" : "-") + (unit.Run(Write, new byte[512], n).Result.Status == ScsiStatus.Good ? "w" : "-")));
        Assert.Equal(expected, actual);
        for (int n = 0; n < 3; n++) unit.Good(Tur, nexus: n);
    }

    [Fact]
    public async Task ReleaseTellsTheOthers()
    {
        await using var unit = Registered();
        unit.Good(Out(1, 5), List(1, 0));
        unit.Checks(Sense.InvalidReleaseOfPersistentReservation, Out(2, 6), List(1, 0));
        unit.Good(Out(2, 5), List(1, 0));
        unit.Good(Tur, nexus: 0);
        unit.Checks(Sense.ReservationsReleased, Tur, nexus: 1);
        unit.Good(Tur, nexus: 2);
    }

    [Fact]
    public async Task PreemptTakesOver()
    {
        await using var unit = Registered();
        unit.Good(Out(1, 3), List(1, 0));
        unit.Conflicts(Out(4, 3), List(2, 99), 1);
        unit.Good(Out(4, 3), List(2, 1), 1);
        unit.Checks(Sense.RegistrationsPreempted, Tur, nexus: 0);
        unit.Conflicts(Write, new byte[512], 0);
        unit.Good(Write, new byte[512], 1);
        var keys = unit.Good("5E 00 00 00 00 00 00 0100 00");
        Assert.Equal(8u, BinaryPrimitives.ReadUInt32BigEndian(keys.AsSpan(4)));
        Assert.Equal(2UL, BinaryPrimitives.ReadUInt64BigEndian(keys.AsSpan(8)));
    }

    [Fact]
    public async Task ClearRemovesEverything()
    {
        await using var unit = Registered();
        unit.Good(Out(1, 3), List(1, 0));
        unit.Good(Out(3), List(2, 0), 1);
        unit.Checks(Sense.ReservationsPreempted, Tur, nexus: 0);
        unit.Good(Write, new byte[512], 2);
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32BigEndian(unit.Good("5E 00 00 00 00 00 00 0100 00").AsSpan(4)));
    }

    [Fact]
    public async Task RegisterAndMoveHandsOver()
    {
        await using var unit = Registered();
        unit.Good(Out(1, 3), List(1, 0));
        var id = unit.Nexus(2).TransportId;
        byte[] list = [.. List(1, 77)[..16], 0, 2, 0, 1, 0, 0, 0, (byte)id.Length, .. id];
        unit.Good($"5F 07 00 0000 {list.Length:X8} 00", list);
        unit.Good(Write, new byte[512], 2);
        unit.Conflicts(Write, new byte[512], 0);
        // READ FULL STATUS shows the new holder and its TransportID.
        var status = unit.Good("5E 03 00 00 00 00 00 0400 00");
        Assert.Contains(Convert.ToHexString(id), Convert.ToHexString(status), StringComparison.Ordinal);
    }

    [Fact]
    public async Task SpecIPtRegistersOthers()
    {
        await using var unit = new TestUnit(nexuses: 2);
        var id = unit.Nexus(1).TransportId;
        byte[] list = [.. List(0, 5, 0x08), 0, 0, 0, (byte)id.Length, .. id];
        unit.Good($"5F 00 00 0000 {list.Length:X8} 00", list);
        unit.Good(Out(1, 5), List(5, 0), 1);
        unit.Good(Write, new byte[512], 0);
    }

    [Fact]
    public async Task AptplSurvivesARestartAndOthersDoNot()
    {
        var state = new VolatileUnitStateProbe();
        await using (var unit = Registered(state: state, flags: 0x01)) unit.Good(Out(1, 3), List(1, 0));
        await using (var unit = new TestUnit(state: state, nexuses: 3))
        {
            unit.Good(Write, new byte[512], 0);
            unit.Conflicts(Write, new byte[512], 1);
            unit.Good(Out(0), List(1, 1), 0); // APTPL = 0 from here on
        }
        await using var last = new TestUnit(state: state, nexuses: 3);
        last.Good(Write, new byte[512], 2);
    }

    [Fact]
    public async Task WhatCannotBeSavedDoesNotHappen()
    {
        var state = new VolatileUnitStateProbe();
        await using var unit = Registered(state: state, flags: 0x01);
        state.Fails = true;
        Assert.Equal(ScsiStatus.CheckCondition, unit.Run(Out(1, 3), List(1, 0)).Result.Status);
        unit.Good(Write, new byte[512], 2);
        state.Fails = false;
        unit.Good(Out(1, 3), List(1, 0));
        unit.Conflicts(Write, new byte[512], 2);
    }

    [Fact]
    public async Task UnregisteringTheHolderReleases()
    {
        await using var unit = Registered();
        unit.Good(Out(1, 5), List(1, 0));
        unit.Good(Out(0), List(1, 0));
        unit.Checks(Sense.ReservationsReleased, Tur, nexus: 1);
        unit.Good(Write, new byte[512], 2);
    }

    [Fact]
    public async Task WrongParameterListsAreRefused()
    {
        await using var unit = Registered();
        unit.Checks(Sense.ParameterListLengthError, "5F 00 00 0000 00000017 00", new byte[23]);
        unit.Checks(Sense.InvalidFieldInCdb, Out(1, 2), List(1, 0));
        unit.Checks(Sense.InvalidFieldInCdb, Out(1, 0x13), List(1, 0));
        unit.Checks(Sense.InvalidFieldInParameterList, Out(1, 1), List(1, 0, 0x08));
        unit.Conflicts(Out(1, 1), List(9, 0));
        unit.Conflicts(Out(0), List(9, 1));
    }

    /// <summary>Two that take each other's registration, one of them after it has registered again, do not wait for each other for ever.</summary>
    [Fact]
    public async Task PreemptsOfEachOtherBothEnd()
    {
        using var open = new ManualResetEventSlim(true);
        await using var unit = Registered(state: new VolatileUnitStateProbe { Before = open.Wait }, flags: 1);
        open.Reset();
        Task<CommandResult> Send(int action, byte[] list, int nexus) => unit.Start(new TestCommand(), Out(action), list, nexus).AsTask();
        // The first is being saved; the others have begun, and wait for it.
        Task<CommandResult>[] sent = [Send(4, List(2, 1), 1), Send(6, List(0, 1, 1), 0), Send(4, List(1, 2), 0)];
        Assert.DoesNotContain(sent, s => s.IsCompleted);
        open.Set();
        var results = await Task.WhenAll(sent).WaitAsync(TimeSpan.FromSeconds(20));
        Assert.All(results, r => Assert.Equal(ScsiStatus.Good, r.Status));
    }
}
