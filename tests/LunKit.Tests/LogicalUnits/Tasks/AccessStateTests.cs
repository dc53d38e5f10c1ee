using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>Two target port groups with states of their own (ALUA, SPC-5 5.18.2).</summary>
public class AccessStateTests
{
    private const string Read = "28 00 00000005 00 0001 00", TestUnitReady = "00 00 00 00 00 00", Inquiry = "12 00 00 00 24 00",
        ReportGroups = "A3 0A 00 00 00 00 00 00 00 FF 00 00";

    /// <summary>Nexus 0 comes through port 1 of group 0, nexus 1 through port 2 of group 7.</summary>
    private static UnitBench Bench(int accessTypes = 3)
    {
        var bench = new UnitBench(nexuses: 0);
        bench.Unit.Alua = new Alua([(0, [1]), (7, [2])]) { AccessTypes = accessTypes };
        bench.AddNexus(1, 0);
        bench.AddNexus(2, 7);
        return bench;
    }

    [Theory]
    [InlineData(AccessState.ActiveOptimized, "Good")]
    [InlineData(AccessState.ActiveNonOptimized, "Good")]
    [InlineData(AccessState.Standby, "02/04/0B")]
    [InlineData(AccessState.Unavailable, "02/04/0C")]
    [InlineData(AccessState.Offline, "02/04/0C")]
    [InlineData(AccessState.Transitioning, "02/04/0A")]
    internal async Task AStateIsThatOfOneGroup(AccessState state, string answer)
    {
        await using var bench = Bench();
        Assert.True(bench.Unit.Alua.IsAllActive);
        Assert.Equal(state != AccessState.ActiveOptimized, bench.Unit.Alua.Set(7, state, explicitly: false));
        Assert.False(bench.Unit.Alua.Set(7, state, explicitly: false));
        Assert.Equal(answer == "Good", bench.Unit.Alua.IsAllActive);
        Assert.Equal("Good", bench.Answer(0, Read));
        Assert.Equal(answer, bench.Answer(1, Read));
        Assert.Equal(answer, bench.Answer(1, TestUnitReady));
        Assert.Equal("Good", bench.Answer(1, Inquiry));
        Assert.Equal("Good", bench.Answer(1, ReportGroups));
        Assert.Equal("Good", bench.Answer(1, "A0 00 00 00 00 00 00 00 00 FF 00 00"));
        // And back.
        bench.Unit.Alua.Set(7, AccessState.ActiveOptimized, explicitly: false);
        Assert.True(bench.Unit.Alua.IsAllActive);
        Assert.Equal("Good", bench.Answer(1, Read));
    }

    /// <summary>Every command in the state STANDBY, against its row: what a path checker needs is executed.</summary>
    [Fact]
    public async Task EveryCommandInStandby()
    {
        await using var bench = Bench();
        bench.Unit.Alua.Set(7, AccessState.Standby, explicitly: false);
        foreach (var row in BlockCommands.Table.Rows)
        {
            var refusal = bench.Unit.Alua.Refuses(bench.UnitNexus(1), row);
            Assert.Equal(row.Has(CommandTraits.AnyAccessState) ? null : Sense.TargetPortStandby, refusal);
            Assert.Null(bench.Unit.Alua.Refuses(bench.UnitNexus(0), row));
        }
        // SPC-5 5.18.2.4.4: these at the least.
        foreach (string name in new[] { "INQUIRY", "REPORT LUNS", "REQUEST SENSE", "REPORT TARGET PORT GROUPS", "SET TARGET PORT GROUPS", "MODE SENSE(10)", "PERSISTENT RESERVE IN, READ KEYS" })
            Assert.True(BlockCommands.Table.Rows.Single(r => r.Name == name).Has(CommandTraits.AnyAccessState), name);
    }

    private static byte[] Groups(UnitBench bench, int nexus)
    {
        var report = bench.Send("report", nexus, ReportGroups);
        bench.Settle();
        Assert.Equal("Good", report.Answer);
        return report.DataIn;
    }

    [Fact]
    public async Task BothGroupsAreReported()
    {
        await using var bench = Bench();
        bench.Unit.Alua.Set(7, AccessState.Standby, explicitly: false);
        var data = Groups(bench, 0);
        Assert.Equal(4 + 12 + 12, data.Length);
        // State, supported states, group, status, number of ports, port.
        Assert.Equal([0x00, 0x8F, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1], data[4..16]);
        Assert.Equal([0x02, 0x8F, 0, 7, 0, 2, 0, 1, 0, 0, 0, 2], data[16..28]);
    }

    [Fact]
    public async Task ExplicitChangesAreToldToTheOthers()
    {
        await using var bench = Bench();
        byte[] list = [0, 0, 0, 0, 0x02, 0, 0, 7];
        Assert.Equal("Good", bench.Answer(0, "A4 0A 00 00 00 00 00 00 00 08 00 00", list));
        Assert.Null(bench.Attention(0));
        Assert.Equal("06/2A/06", bench.Attention(1)?.ToString());
        Assert.Equal("02/04/0B", bench.Answer(1, Read));
        Assert.Equal([0x02, 0x8F, 0, 7, 0, 1], Groups(bench, 0)[16..22]);
        // The standby group itself may be woken through its own port.
        list[4] = 0;
        Assert.Equal("Good", bench.Answer(1, "A4 0A 00 00 00 00 00 00 00 08 00 00", list));
        Assert.Equal("Good", bench.Answer(1, Read));
    }

    [Fact]
    public async Task ExplicitChangesAreTheOperatorsToAllow()
    {
        await using var bench = Bench(accessTypes: 1);
        byte[] list = [0, 0, 0, 0, 0x02, 0, 0, 7];
        Assert.NotEqual("Good", bench.Answer(0, "A4 0A 00 00 00 00 00 00 00 08 00 00", list));
        Assert.Null(bench.Attention(1));
        Assert.Equal("Good", bench.Answer(1, Read));
    }

    [Fact]
    public void PortsAndGroupsAreKnown()
    {
        var alua = new Alua([(0, [1]), (7, [2])]);
        Assert.True(alua.Contains(0) && alua.Contains(7));
        Assert.False(alua.Contains(1));
        Assert.Null(alua.OnlyPort);
        Assert.Equal(2, alua.PortCount);
        Assert.Equal((7, 2), new Alua([(7, [2])]).OnlyPort);
        Assert.Equal([0, 7], alua.Groups.Select(g => g.Group));
    }

    /// <summary>Where the fabric keeps the states, they are asked for.</summary>
    [Fact]
    public async Task TheKeeperIsAsked()
    {
        AccessGroup[] groups = [new(3, AccessState.ActiveOptimized, 0, [1]), new(4, AccessState.Standby, 2, [2])];
        bool fails = false;
        var alua = new Alua(() => fails ? throw new IOException("gone") : groups) { AccessTypes = 0 };
        Assert.Equal([3, 4], alua.Groups.Select(g => g.Group));
        groups = [new(4, AccessState.ActiveOptimized, 2, [2])];
        Assert.Equal(2, alua.Groups.Count);
        await alua.RefreshAsync();
        Assert.Equal((4, AccessState.ActiveOptimized), (Assert.Single(alua.Groups).Group, alua.Groups[0].State));
        // What was known stays.
        fails = true;
        await alua.RefreshAsync();
        Assert.Single(alua.Groups);
        Assert.True(Alua.Elsewhere.RefreshAsync().IsCompletedSuccessfully);
        Assert.Equal((0, false), (Alua.Elsewhere.AccessTypes, Alua.Elsewhere.IsExplicit));
        Assert.Equal(0, Assert.Single(Alua.Elsewhere.Groups).Group);
    }

    private static TargetPort[] Ports(string device, params (int Number, int Group)[] ports) => [.. ports.Select(p => new TargetPort($"{device},t,0x{p.Group:x4}", p.Number, p.Group, device))];

    /// <summary>A unit of two targets is reached through the ports of both; whether states may be set depends on the way.</summary>
    [Fact]
    public void PortsOfSeveralTargets()
    {
        var alua = Alua.AllActive;
        TargetPort[] one = Ports("one", (1, 1), (2, 2)), two = Ports("two", (3, 1));
        Assert.False(alua.SetPorts("one", one, isExplicit: false));
        Assert.False(alua.SetPorts("two", two, isExplicit: true));
        Assert.Equal(["1: 1 3", "2: 2"], alua.Groups.Select(g => $"{g.Group}: {string.Join(' ', g.Ports)}"));
        Assert.Equal((1, 3, true), (alua.AccessTypesAt(one[0]), alua.AccessTypesAt(two[0]), alua.IsExplicit));
        Assert.True(alua.Set(1, AccessState.Standby, explicitly: true));
        // A target goes: its port does, and the state stays while somebody may set it back.
        Assert.False(alua.SetPorts("one", [], isExplicit: false));
        Assert.Equal((1, AccessState.Standby), (Assert.Single(alua.Groups).Group, alua.Groups[0].State));
        Assert.False(alua.IsAllActive);
        Assert.True(alua.SetPorts("two", two, isExplicit: false));
        Assert.True(alua.IsAllActive);
        Assert.Equal(AccessState.ActiveOptimized, Assert.Single(alua.Groups).State);
        Assert.False(alua.SetPorts("two", [], isExplicit: false));
        Assert.Empty(alua.Groups);
    }
}
