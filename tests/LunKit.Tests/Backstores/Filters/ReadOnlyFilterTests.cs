using LunKit.Backstores;
using LunKit.Scsi;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Backstores.Filters;

public sealed class ReadOnlyFilterTests
{
    public static TheoryData<string> Changes => ["write", "discard", "zeroes", "same", "compare"];

    private static Task Change(BackstoreFilter filter, string change)
    {
        var data = new DataBuffer(new byte[512]);
        return change switch
        {
            "write" => filter.WriteAsync(512, data, default, default).AsTask(),
            "discard" => filter.DiscardAsync(512, 512, default).AsTask(),
            "zeroes" => filter.WriteZeroesAsync(512, 512, default, default).AsTask(),
            "same" => filter.WriteSameAsync(512, 512, data, default, default).AsTask(),
            _ => filter.CompareAndWriteAsync(512, data, data, default, default).AsTask(),
        };
    }

    [Theory, MemberData(nameof(Changes))]
    public async Task ChangesAreRefused(string change)
    {
        await using var filter = new ReadOnlyFilter(new MemoryBackstore(1 << 20));
        Assert.True(filter.Geometry.ReadOnly);
        Assert.Same(filter.Geometry, filter.Geometry);
        var refusal = await Assert.ThrowsAsync<BackstoreException>(() => Change(filter, change));
        Assert.Equal((BackstoreError.ReadOnly, 512L), (refusal.Error, refusal.Offset));
        await filter.ReadAsync(0, new DataBuffer(new byte[512]), default);
        await filter.FlushAsync(default);
    }

    [Fact]
    public async Task ItCanBeSwitchedWhileItIsUsed()
    {
        var filter = new ReadOnlyFilter(new MemoryBackstore(1 << 20), isOn: false);
        await using var unit = new TestUnit(filter);
        const string write = "2A 00 00000000 00 0001 00";
        unit.Good(write, new byte[512]);
        filter.IsOn = true;
        unit.Checks(Sense.WriteProtected, write, new byte[512]);
        // The device-specific parameter of MODE SENSE: WP.
        Assert.Equal(0x80, unit.Good("1A 00 3F 00 FF 00")[2] & 0x80);
        filter.IsOn = false;
        unit.Good(write, new byte[512]);
        Assert.Equal(0, unit.Good("1A 00 3F 00 FF 00")[2] & 0x80);
    }
}
