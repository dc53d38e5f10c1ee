using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>The unit attentions of one nexus (SAM-6 5.14).</summary>
public class UnitAttentionTests
{
    private readonly UnitNexus _nexus = new(new Nexus("i", "i,i,0x0", [], new TargetPort("t,t,0x0001", 1, 0, "t")), null!, 3);

    private string Take(bool onlyReset = false) => _nexus.TryTakeUnitAttention(out var sense, onlyReset) ? sense.ToString() : "none";

    [Fact]
    public void OldestFirstAndResetsBeforeAll()
    {
        Assert.False(_nexus.HasUnitAttention);
        Assert.Equal("none", Take());
        _nexus.EstablishUnitAttention(Sense.MediumChanged);
        _nexus.EstablishUnitAttention(Sense.ReportedLunsChanged);
        Assert.Equal("none", Take(onlyReset: true));
        Assert.True(_nexus.HasUnitAttention);
        _nexus.EstablishUnitAttention(Sense.BusDeviceResetOccurred);
        Assert.Equal("06/29/03", Take(onlyReset: true));
        Assert.Equal("06/28/00", Take());
        Assert.True(_nexus.HasUnitAttention);
        Assert.Equal("06/3F/0E", Take());
        Assert.False(_nexus.HasUnitAttention);
        Assert.Equal("none", Take());
    }

    [Fact]
    public void ResetsComeBeforeOlderOnes()
    {
        _nexus.EstablishUnitAttention(Sense.MediumChanged);
        _nexus.EstablishUnitAttention(Sense.PowerOnOrReset);
        Assert.Equal("06/29/00", Take());
        Assert.Equal("06/28/00", Take());
    }

    /// <summary>A reset says what was changed or cleared before it, and takes the place of an earlier one.</summary>
    [Fact]
    public void AResetSaysTheRest()
    {
        _nexus.EstablishUnitAttention(Sense.PowerOnOrReset);
        _nexus.EstablishUnitAttention(Sense.ModeParametersChanged);
        _nexus.EstablishUnitAttention(Sense.CommandsClearedByAnotherInitiator);
        _nexus.EstablishUnitAttention(Sense.MediumChanged);
        _nexus.EstablishUnitAttention(Sense.BusDeviceResetOccurred);
        Assert.Equal(["06/29/03", "06/28/00", "none"], [Take(), Take(), Take()]);
        // What comes behind it counts.
        _nexus.EstablishUnitAttention(Sense.BusDeviceResetOccurred);
        _nexus.EstablishUnitAttention(Sense.ModeParametersChanged);
        Assert.Equal(["06/29/03", "06/2A/01", "none"], [Take(), Take(), Take()]);
    }

    [Fact]
    public void NoneIsRepeated()
    {
        _nexus.EstablishUnitAttention(Sense.MediumChanged);
        _nexus.EstablishUnitAttention(Sense.MediumChanged);
        Assert.Equal(["06/28/00", "none"], [Take(), Take()]);
    }

    [Fact]
    public void OneKindIsCleared()
    {
        _nexus.EstablishUnitAttention(Sense.ReportedLunsChanged);
        _nexus.ClearUnitAttention(Sense.MediumChanged);
        Assert.True(_nexus.HasUnitAttention);
        _nexus.EstablishUnitAttention(Sense.MediumChanged);
        _nexus.ClearUnitAttention(Sense.ReportedLunsChanged);
        Assert.True(_nexus.HasUnitAttention);
        Assert.Equal("06/28/00", Take());
        _nexus.EstablishUnitAttention(Sense.ReportedLunsChanged);
        _nexus.ClearUnitAttention(Sense.ReportedLunsChanged);
        Assert.False(_nexus.HasUnitAttention);
    }

    [Fact]
    public void TheyAreBounded()
    {
        for (byte i = 0; i < 40; i++) _nexus.EstablishUnitAttention(new Sense(SenseKey.UnitAttention, 0x3F, i));
        for (int i = 0; i < 16; i++) Assert.Equal($"06/3F/{i:X2}", Take());
        Assert.Equal("none", Take());
        Assert.Equal(3, _nexus.Lun);
    }
}
