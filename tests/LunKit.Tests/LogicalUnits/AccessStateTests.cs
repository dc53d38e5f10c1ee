using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tests.Iscsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>SET TARGET PORT GROUPS: whether it is allowed, and who hears of it.</summary>
public class AccessStateTests
{
    private const string Read = "28 00 00000000 00 0001 00", Tur = "00 00 00 00 00 00", Set = "A4 0A 0000 0000 00000008 00 00";

    private static byte[] State(byte state, byte group) => [0, 0, 0, 0, state, 0, 0, group];

    private static Alua Explicit() => new([(0, [1]), (1, [2])]) { AccessTypes = 3 };

    [Fact]
    public async Task IsNotThereUnlessTheOperatorAllowsIt()
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Unit.Alua = new Alua([(0, [1]), (1, [2])]);
        var refused = unit.Checks(Sense.InvalidFieldInCdb, Set, State(2, 0));
        Assert.Equal(SenseDetail.FieldPointer(true, 1, 4), refused.Detail.KeySpecific);
        unit.Good(Read);
        unit.Good(Tur, nexus: 1);
        Assert.Equal(0x10, unit.Good("12 00 00 0060 00")[5] & 0x30);
        Assert.Equal(1, unit.Good("A3 0C 02 A4 000A 00000100 00 00")[1] & 7);
        // Its opcode has another service action, which is there.
        Assert.Equal(3, unit.Good("A3 0C 02 A4 0006 00000100 00 00")[1] & 7);
        int all = unit.Good("A3 0C 00 00 0000 00004000 00 00").Length;
        unit.Unit.Alua = Explicit();
        Assert.Equal(all + 8, unit.Good("A3 0C 00 00 0000 00004000 00 00").Length);
        Assert.Equal(3, unit.Good("A3 0C 02 A4 000A 00000100 00 00")[1] & 7);
        Assert.Equal(0x30, unit.Good("12 00 00 0060 00")[5] & 0x30);
    }

    [Fact]
    public async Task StatesRefuseAndAreTold()
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Unit.Alua = Explicit();
        unit.Good(Set, State(2, 0));
        unit.Checks(Sense.AsymmetricAccessStateChanged, Tur, nexus: 1);
        unit.Checks(Sense.TargetPortStandby, Read);
        Assert.Equal(2, unit.Good("A3 0A 0000 0000 00000100 00 00")[4] & 0x0F);
        unit.Good(Set, State(0, 0));
        unit.Good(Read);
        unit.Checks(Sense.InvalidFieldInParameterList, Set, State(0, 9));
    }

    [Fact]
    public async Task AGroupDoesNotTouchTheOther()
    {
        await using var unit = new TestUnit(nexuses: 0);
        unit.Unit.Alua = Explicit();
        unit.AddNexus("iqn.test:a", "000000000001", targetPort: 1);
        unit.AddNexus("iqn.test:a", "000000000001", targetPort: 2);
        unit.Good(Set, State(3, 1), 0);
        unit.Good(Read, nexus: 0);
        unit.Checks(Sense.AsymmetricAccessStateChanged, Tur, nexus: 1);
        unit.Checks(Sense.TargetPortUnavailable, Read, nexus: 1);
    }

    /// <summary>States belong to a unit: others that are reached through the same ports have their own.</summary>
    [Fact]
    public async Task AllNexusesOfTheUnitAreToldButTheOneThatSetThem()
    {
        BlockUnit New(string name) => new(new MemoryBackstore(1 << 20), name, new VolatileUnitState(UnitIdentity.IdOf(name)));
        await using var second = New("second");
        await using var unit = new TestUnit(nexuses: 0);
        Nexus setter = unit.AddNexus("iqn.test:a", "000000000001", 1, second), other = unit.AddNexus("iqn.test:b", "000000000001", 1, second);
        (unit.Unit.Alua, second.Alua) = (Explicit(), Explicit());
        unit.Good(Set, State(1, 0), 0);
        string Pending(Nexus nexus) => string.Join(' ', nexus.Luns.Entries.Values.Select(e => e.TryTakeUnitAttention(out var sense) ? sense.ToString() : "-"));
        Assert.Equal("- -", Pending(setter));
        Assert.Equal("06/2A/06 -", Pending(other));
        // What is set already is no change.
        unit.Good(Set, State(1, 0), 0);
        Assert.Equal("- -", Pending(other));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task TheTargetSaysWhetherItIsAllowed(bool allowed)
    {
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = new MemoryBackstore(1 << 20), [3] = new MemoryBackstore(1 << 20) });
        var definition = target.Target with { ExplicitAlua = allowed };
        target.Server.SetTarget(definition);
        var initiator = await target.ConnectAsync();
        byte[] set = [0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
        var answer = await initiator.ExecuteAsync(0, set, State(0, 1));
        Assert.Equal(allowed ? ScsiStatus.Good : ScsiStatus.CheckCondition, answer.Status);
        Assert.Equal(allowed, target.Units[3].Alua.IsExplicit);
        target.Server.SetTarget(definition with { ExplicitAlua = !allowed });
        answer = await initiator.ExecuteAsync(0, set, State(0, 1));
        Assert.Equal(allowed ? ScsiStatus.CheckCondition : ScsiStatus.Good, answer.Status);
    }
}
