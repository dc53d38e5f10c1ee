using System.Buffers.Binary;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using static LunKit.Tests.LogicalUnits.ReserveOut;

namespace LunKit.Tests.LogicalUnits;

/// <summary>The rules of PERSISTENT RESERVE OUT beyond the plain cases of <see cref="PersistentReservationTests"/>.</summary>
public class PersistentReservationRuleTests
{
    private const string Write = "2A 00 00000000 00 0001 00", Tur = "00 00 00 00 00 00";

    private static (string Cdb, byte[] List) SpecIPt(ulong newKey, params byte[][] ids)
    {
        byte[] all = [.. ids.SelectMany(i => i)], list = [.. List(0, newKey, 0x08), 0, 0, (byte)(all.Length >> 8), (byte)all.Length, .. all];
        return ($"5F 00 00 0000 {list.Length:X8} 00", list);
    }

    private static (string Cdb, byte[] List) Move(ulong key, ulong newKey, byte[] id, byte flags = 0, byte port = 1)
    {
        byte[] list = [.. List(key, newKey)[..16], 0, flags, 0, port, 0, 0, 0, (byte)id.Length, .. id];
        return ($"5F 07 00 0000 {list.Length:X8} 00", list);
    }

    private static ulong[] Keys(TestUnit unit, int nexus = 0)
    {
        var data = unit.Good("5E 00 00 00 00 00 00 0400 00", nexus: nexus);
        return [.. Enumerable.Range(0, (data.Length - 8) / 8).Select(i => BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(8 + 8 * i)))];
    }

    private static int HeldType(TestUnit unit) => unit.Good("5E 01 00 00 00 00 00 0400 00") is { Length: > 8 } data ? data[21] : 0;

    [Theory]
    [InlineData(4, 0)]
    [InlineData(5, 0)]
    [InlineData(4, 1)]
    [InlineData(4, 7)]
    public async Task PreemptingOnesOwnKeyRemovesTheRegistration(int action, int heldByOther)
    {
        await using var unit = new TestUnit(nexuses: 3);
        unit.Good(Out(0), List(0, 1), 0);
        unit.Good(Out(0), List(0, 2), 1);
        unit.Good(Out(0), List(0, 1), 2);
        if (heldByOther != 0) unit.Good(Out(1, heldByOther), List(2, 0), 1);
        unit.Good(Out(action, 1), List(1, 1), 0);
        Assert.Equal([2UL], Keys(unit));
        Assert.Equal(heldByOther, HeldType(unit));
        unit.Good(Tur, nexus: 0);
        unit.Checks(Sense.RegistrationsPreempted, Tur, nexus: 2);
    }

    [Fact]
    public async Task AReservationOfAllRegistrantsEndsWithTheLastOne()
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Good(Out(0), List(0, 1), 0);
        unit.Good(Out(1, 7), List(1, 0), 0);
        unit.Good(Out(4, 1), List(1, 1), 0);
        Assert.Empty(Keys(unit));
        Assert.Equal(0, HeldType(unit));
        unit.Good(Write, new byte[512], 1);
    }

    [Fact]
    public async Task TheTypeOfAPreemptThatTakesNothingOverIsIgnored()
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Good(Out(0), List(0, 1), 0);
        unit.Good(Out(0), List(0, 2), 1);
        unit.Good(Out(4, 0x1F), List(1, 2), 0);
        Assert.Equal([1UL], Keys(unit));
        unit.Good(Out(1, 3), List(1, 0), 0);
        // Taking over is where they count.
        unit.Checks(Sense.InvalidFieldInCdb, Out(4, 0x02), List(1, 1), 0);
        unit.Checks(Sense.InvalidFieldInCdb, Out(4, 0x11), List(1, 1), 0);
        Assert.Equal(3, HeldType(unit));
        unit.Good(Out(4, 1), List(1, 1), 0);
        Assert.Equal(1, HeldType(unit));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(6)]
    [InlineData(15)]
    [InlineData(0x13)]
    public async Task ReleaseLooksAtTheTypeOfTheHolderOnly(int type)
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Good(Out(0), List(0, 1), 0);
        unit.Good(Out(0), List(0, 2), 1);
        unit.Good(Out(2, type), List(1, 0), 0);
        unit.Good(Out(1, 3), List(1, 0), 0);
        unit.Good(Out(2, type), List(2, 0), 1);
        unit.Checks(Sense.InvalidReleaseOfPersistentReservation, Out(2, type), List(1, 0), 0);
        Assert.Equal(3, HeldType(unit));
    }

    [Fact]
    public async Task AllTargetPortsAreRegisteredAndUnregisteredByTheirOwnKeys()
    {
        await using var unit = new TestUnit(nexuses: 0);
        unit.Unit.Alua = new Alua([(0, [1]), (1, [2])]);
        unit.AddNexus("iqn.test:a", "000000000001", targetPort: 1);
        unit.AddNexus("iqn.test:a", "000000000001", targetPort: 2);
        unit.Good(Out(0), List(0, 9), 1);
        // The nexus through the other port has a key that this command does not know.
        unit.Conflicts(Out(0), List(0, 5, 0x04), 0);
        Assert.Equal([9UL], Keys(unit));
        unit.Good(Out(6), List(0, 5, 0x04), 0);
        Assert.Equal([5UL, 5UL], Keys(unit));
        unit.Good(Out(1, 5), List(5, 0), 1);
        unit.Good(Out(0), List(5, 0, 0x04), 0);
        Assert.Empty(Keys(unit));
        Assert.Equal(0, HeldType(unit));
    }

    [Fact]
    public async Task RegistrationsWithoutADurableStoreCannotPersist()
    {
        await using var unit = new TestUnit(nexuses: 2);
        var refused = unit.Checks(Sense.InvalidFieldInParameterList, Out(0), List(0, 1, 0x01));
        Assert.Equal(SenseDetail.FieldPointer(false, 20, 0), refused.Detail.KeySpecific);
        unit.Checks(Sense.InvalidFieldInParameterList, Out(6), List(0, 1, 0x01));
        Assert.Empty(Keys(unit));
        Assert.Equal(0x1C, unit.Good("5E 02 00 00 00 00 00 0008 00")[2]);
        unit.Good(Out(0), List(0, 1));
        unit.Good(Out(1, 3), List(1, 0));
        var (cdb, list) = Move(1, 2, unit.Nexus(1).TransportId, flags: 0x01);
        refused = unit.Checks(Sense.InvalidFieldInParameterList, cdb, list);
        Assert.Equal(SenseDetail.FieldPointer(false, 17, 0), refused.Detail.KeySpecific);
        await using var durable = new TestUnit(state: new VolatileUnitStateProbe());
        Assert.Equal(0x1D, durable.Good("5E 02 00 00 00 00 00 0008 00")[2]);
        durable.Good(Out(0), List(0, 1, 0x01));
    }

    [Fact]
    public async Task NobodyIsToldOfWhatCouldNotBeSaved()
    {
        var state = new VolatileUnitStateProbe();
        await using var unit = new TestUnit(nexuses: 2, state: state);
        unit.Good(Out(0), List(0, 1, 0x01), 0);
        unit.Good(Out(0), List(0, 2, 0x01), 1);
        unit.Good(Out(1, 5), List(1, 0), 0);
        state.Fails = true;
        foreach (string action in (string[])[Out(2, 5), Out(3), Out(4, 5)])
            Assert.Equal(ScsiStatus.CheckCondition, unit.Run(action, List(1, 2), 0).Result.Status);
        Assert.Equal(ScsiStatus.CheckCondition, unit.Run(Out(0), List(1, 0), 0).Result.Status);
        unit.Good(Tur, nexus: 1);
        Assert.Equal([1UL, 2UL], Keys(unit));
    }

    [Fact]
    public async Task ASaveThatHangsHoldsUpServiceActionsAndNothingElse()
    {
        using var gate = new ManualResetEventSlim();
        var state = new VolatileUnitStateProbe();
        await using var unit = new TestUnit(nexuses: 2, state: state);
        state.Before = () => gate.Wait(TimeSpan.FromSeconds(30));
        var first = unit.Start(new TestCommand(), Out(0), List(0, 1, 0x01), 0).AsTask();
        var second = unit.Start(new TestCommand(), Out(0), List(0, 2, 0x01), 1).AsTask();
        var mode = unit.Start(new TestCommand(), "15 11 00 00 10 00", [0, 0, 0, 0, 0x0A, 10, 0x02, 0x10, 0, 0x40, 0, 0, 0xFF, 0xFF, 0, 0]).AsTask();
        var information = unit.Start(new TestCommand(), "A4 06 0000 0000 00000001 00 00", [7]).AsTask();
        Assert.False(first.IsCompleted || second.IsCompleted || mode.IsCompleted || information.IsCompleted);
        Assert.Empty(Keys(unit));
        unit.Good(Write, new byte[512]);
        gate.Set();
        foreach (var task in (Task<CommandResult>[])[first, second, mode, information]) Assert.Equal(ScsiStatus.Good, (await task).Status);
        Assert.Equal([1UL, 2UL], Keys(unit));
    }

    [Fact]
    public async Task NamesAreComparedWithoutRegardToCase()
    {
        await using var unit = new TestUnit(nexuses: 0);
        unit.AddNexus("iqn.test:a", "00000000abcd");
        unit.AddNexus("IQN.Test:A", "00000000abcd");
        unit.AddNexus("iqn.test:b", "00000000cdef");
        unit.AddNexus("iqn.test:c", "000000000012");
        unit.Good(Out(0), List(0, 1), 0);
        // The same port after a login that spells its name otherwise.
        unit.Good(Out(1, 3), List(1, 0), 1);
        unit.Good(Write, new byte[512], 1);
        unit.Good(Out(2, 3), List(1, 0), 0);
        unit.Good(Out(0), List(1, 0), 0);
        var (cdb, list) = SpecIPt(4, TestUnit.TransportId("IQN.TEST:B,i,0x00000000CDEF"), TestUnit.TransportId("iqn.test:c,i,0x12"));
        unit.Good(cdb, list, 0);
        unit.Good(Out(1, 3), List(4, 0), 2);
        unit.Good(Out(2, 3), List(4, 0), 2);
        unit.Good(Out(1, 3), List(4, 0), 3);
        var (move, target) = Move(4, 5, TestUnit.TransportId("IQN.TEST:B,i,0x00000000CDEF"));
        unit.Good(move, target, 3);
        unit.Good(Write, new byte[512], 2);
        unit.Conflicts(Write, new byte[512], 3);
        string status = System.Text.Encoding.ASCII.GetString(unit.Good("5E 03 00 00 00 00 00 0800 00"));
        Assert.Contains("iqn.test:b,i,0x00000000cdef", status, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OldStateFilesStillMatch()
    {
        var state = new VolatileUnitStateProbe();
        var saved = state.Load();
        RegistrationState Old(string port, ulong key) =>
            new() { InitiatorPort = port, TransportId = Convert.ToHexString(TestUnit.TransportId(port)), TargetPort = 1, Key = key };
        saved.Reservations = new ReservationState
        {
            Registrations = [Old("iqn.test:a,i,0x00000000abcd", 1), Old("IQN.Test:A,i,0x00000000ABCD", 2), Old("iqn.test:B,i,0x1", 3)],
            Type = 3, Holder = 1,
        };
        state.Save(saved);
        await using var unit = new TestUnit(nexuses: 0, state: state);
        unit.AddNexus("iqn.test:a", "00000000abcd");
        unit.AddNexus("iqn.test:b", "000000000001");
        Assert.Equal([2UL, 3UL], Keys(unit));
        unit.Good(Write, new byte[512], 0);
        unit.Conflicts(Write, new byte[512], 1);
        unit.Good(Out(4, 3), List(3, 2), 1);
        unit.Good(Write, new byte[512], 1);
    }

    [Fact]
    public async Task ADeviceNameStandsForAllItsKnownPorts()
    {
        await using var unit = new TestUnit(nexuses: 0);
        unit.AddNexus("iqn.test:a", "000000000001");
        unit.AddNexus("iqn.test:b", "000000000001");
        unit.AddNexus("iqn.test:b", "000000000002");
        unit.AddNexus("iqn.test:c", "000000000001");
        var (cdb, list) = SpecIPt(7, TestUnit.TransportId("iqn.test:B", format: 0x05));
        unit.Good(cdb, list, 0);
        Assert.Equal([7UL, 7UL, 7UL], Keys(unit));
        for (int nexus = 0; nexus < 3; nexus++)
        {
            unit.Good(Out(1, 3), List(7, 0), nexus);
            unit.Good(Out(2, 3), List(7, 0), nexus);
        }
        unit.Conflicts(Out(1, 3), List(7, 0), 3);
        (cdb, list) = SpecIPt(8, TestUnit.TransportId("iqn.test:nobody", format: 0x05));
        var refused = unit.Checks(Sense.InvalidFieldInParameterList, cdb, list, 3);
        Assert.Equal(SenseDetail.FieldPointer(false, 28), refused.Detail.KeySpecific);
        // One port is to hold a reservation that moves.
        unit.Good(Out(1, 3), List(7, 0), 0);
        (cdb, list) = Move(7, 8, TestUnit.TransportId("iqn.test:b", format: 0x05));
        unit.Checks(Sense.InvalidFieldInParameterList, cdb, list, 0);
    }

    [Fact]
    public async Task ReserveOfSpc2ShutsPersistentReservationsOutForItsHolderToo()
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Good("16 00 00 00 00 00", nexus: 0);
        for (int nexus = 0; nexus < 2; nexus++)
        {
            unit.Conflicts(Out(0), List(0, 1), nexus);
            for (int action = 0; action < 4; action++) unit.Conflicts($"5E {action:X2} 00 00 00 00 00 0100 00", nexus: nexus);
        }
        unit.Good("17 00 00 00 00 00", nexus: 0);
        unit.Good(Out(0), List(0, 1), 0);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public async Task WhoIsFencedHasNoCommandLeftWhenItIsAnswered(int action)
    {
        var store = new RecordingBackstore();
        await using var unit = new TestUnit(store, nexuses: 2);
        unit.Good(Out(0), List(0, 1), 0);
        unit.Good(Out(0), List(0, 2), 1);
        unit.Good(Out(1, 5), List(2, 0), 1);
        var gate = new TaskCompletionSource();
        store.Before = c => c == "write" ? gate.Task : Task.CompletedTask;
        var writing = unit.Start(new TestCommand(), Write, new byte[512], 1).AsTask();
        var fencing = unit.Start(new TestCommand(), Out(action, 5), List(1, 2), 0).AsTask();
        Assert.DoesNotContain(2UL, Keys(unit));
        Assert.False(fencing.IsCompleted);
        gate.SetResult();
        await writing;
        Assert.Equal(ScsiStatus.Good, (await fencing).Status);
    }

    [Fact]
    public async Task FullStatusIsOfOneMoment()
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Good(Out(0), List(0, 1), 0);
        using var done = new CancellationTokenSource();
        var changing = new Thread(() =>
        {
            while (!done.IsCancellationRequested)
            {
                unit.Run(Out(1, 3), List(1, 0), 0);
                unit.Run(Out(2, 3), List(1, 0), 0);
            }
        });
        changing.Start();
        try
        {
            for (int i = 0; i < 20_000; i++)
            {
                var data = unit.Good("5E 03 00 00 00 00 00 0100 00", nexus: 1);
                Assert.True((data[20] & 1) != 0 == (data[21] == 3));
            }
        }
        finally
        {
            await done.CancelAsync();
            changing.Join();
        }
    }
}
