using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

public class BufferTests
{
    [Fact]
    public async Task BuffersBelongToTheirNexus()
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Good("3B 02 00 000010 000004 00", [1, 2, 3, 4]);
        Assert.Equal([1, 2, 3, 4, 0], unit.Good("3C 02 00 000010 000005 00"));
        Assert.Equal(new byte[5], unit.Good("3C 02 00 000010 000005 00", nexus: 1));
        unit.Good("3B 0A 00 000000 000003 00", [7, 8, 9]);
        Assert.Equal([7, 8, 9], unit.Good("3C 0A 00 000000 000010 00"));
        unit.Checks(new Sense(SenseKey.IllegalRequest, 0x2C, 0), "3C 0A 00 000000 000010 00", nexus: 1);
        Assert.Equal([0, 1, 0, 0], unit.Good("3C 03 00 000000 000004 00"));
        Assert.Equal([0, 0, 0x10, 0], unit.Good("3C 0B 00 000000 000004 00"));
        unit.Checks(Sense.InvalidFieldInCdb, "3B 02 00 00FFFF 000004 00", [1, 2, 3, 4]);
        unit.Checks(Sense.InvalidFieldInCdb, "3B 05 00 000000 000004 00", [1, 2, 3, 4]);
    }

    [Fact]
    public async Task BuffersCostMemoryOncePerNexusAndOnlyWhenWritten()
    {
        await using var second = new BlockUnit(new MemoryBackstore(1 << 20), "second", new VolatileUnitState(UnitIdentity.IdOf("second")));
        await using var unit = new TestUnit(nexuses: 0);
        var nexus = unit.AddNexus("iqn.test:a", "000000000001", 1, second);
        Assert.Equal(new byte[64 * 1024], unit.Good("3C 02 00 000000 010000 00"));
        Assert.Empty(unit.Good("3C 02 00 010000 000010 00"));
        Assert.False(nexus.Buffers.HasData);
        unit.Good("3B 02 00 000010 000004 00", [1, 2, 3, 4]);
        Assert.True(nexus.Buffers.HasData);
        // The other unit's buffer is not this one; writing it takes the nexus's memory over.
        var other = nexus.Luns.Find(1)!;
        Run(second, other, "3C 02 00 000010 000004 00", [], [0, 0, 0, 0]);
        Run(second, other, "3B 02 00 000012 000001 00", [9], []);
        Run(second, other, "3C 02 00 000010 000004 00", [], [0, 0, 9, 0]);
        Assert.Equal(new byte[4], unit.Good("3C 02 00 000010 000004 00"));

        static void Run(BlockUnit unit, UnitNexus nexus, string cdb, byte[] data, byte[] expected)
        {
            var command = new TestCommand();
            command.Prepare(nexus, TestUnit.Bytes(cdb), data, TaskAttribute.Simple);
            var running = unit.ExecuteAsync(command);
            Assert.Equal(ScsiStatus.Good, running.GetAwaiter().GetResult().Status);
            unit.Complete(command);
            Assert.Equal(expected, command.DataIn);
        }
    }

    [Fact]
    public async Task LogPagesCount()
    {
        await using var unit = new TestUnit();
        unit.Good("2A 00 00000000 00 0008 00", new byte[4096]);
        foreach (byte page in unit.Good("4D 00 00 00 00 0000 0100 00")[4..])
        {
            var data = unit.Good($"4D 00 {page:X2} 00 00 0000 0400 00");
            Assert.Equal(page, data[0] & 0x3F);
            Assert.Equal(data.Length - 4, BinaryPrimitives.ReadUInt16BigEndian(data.AsSpan(2)));
        }
        // Total bytes processed of the write error counters (parameter 5), found by the parameter pointer.
        var counters = unit.Good("4D 00 42 00 00 0005 0100 00");
        Assert.Equal(5, BinaryPrimitives.ReadUInt16BigEndian(counters.AsSpan(4)));
        Assert.Equal(4096UL, BinaryPrimitives.ReadUInt64BigEndian(counters.AsSpan(8)));
        unit.Checks(Sense.InvalidFieldInCdb, "4D 00 3E 00 00 0000 0100 00");
        unit.Checks(Sense.InvalidFieldInCdb, "4D 01 42 00 00 0000 0100 00");
    }

    [Fact]
    public async Task IdentifyingInformationIsKept()
    {
        var state = new VolatileUnitStateProbe();
        await using (var unit = new TestUnit(state: state, nexuses: 2))
        {
            unit.Good("A4 06 0000 0000 00000005 00 00", "abc\0\0"u8.ToArray());
            unit.Checks(Sense.IdentifyingInformationChanged, "00 00 00 00 00 00", nexus: 1);
        }
        await using var again = new TestUnit(state: state);
        Assert.Equal("abc\0\0"u8.ToArray(), again.Good("A3 05 0000 0000 00000100 00 00")[4..]);
        again.Checks(Sense.InvalidFieldInCdb, "A3 05 0000 0000 00000100 06 00");
    }

    [Fact]
    public async Task FormatErasesAndShowsProgress()
    {
        await using var unit = new TestUnit(options: new() { EraseBytesPerSecond = 2 << 20 });
        unit.Good("2A 00 00000000 00 0001 00", [.. Enumerable.Repeat((byte)1, 512)]);
        unit.Good("04 10 00 00 00 00", [0, 2, 0, 0]);
        unit.Checks(Sense.FormatInProgress, "28 00 00000000 00 0001 00");
        Assert.Equal(0x80, unit.Good("03 00 00 00 FF 00")[15]);
        for (int i = 0; i < 100 && unit.Run("00 00 00 00 00 00").Result.Status != ScsiStatus.Good; i++) await Task.Delay(50);
        Assert.Equal(new byte[512], unit.Good("28 00 00000000 00 0001 00"));
    }

    [Fact]
    public async Task InterruptedSanitizeIsAFailureThatOnlyItsRulesEnd()
    {
        var state = new VolatileUnitStateProbe();
        await using (var unit = new TestUnit(state: state, options: new() { EraseBytesPerSecond = 1 << 20 }))
        {
            unit.Good("48 A2 00 00 00 00 00 00 00 00");
            unit.Checks(Sense.SanitizeInProgress, "28 00 00000000 00 0001 00");
        }
        await using var again = new TestUnit(state: state);
        again.Checks(Sense.SanitizeFailed, "28 00 00000000 00 0001 00");
        again.Good("48 1F 00 00 00 00 00 00 00 00");
        again.Good("28 00 00000000 00 0001 00");
    }
}
