using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

public class BlockCommandTests
{
    private static byte[] Filled(int length, byte value) => [.. Enumerable.Repeat(value, length)];

    [Theory]
    [InlineData("0A 00 00 05 02 00", "08 00 00 05 02 00")]
    [InlineData("2A 00 00000005 00 0002 00", "28 00 00000005 00 0002 00")]
    [InlineData("AA 00 00000005 00000002 00 00", "A8 00 00000005 00000002 00 00")]
    [InlineData("8A 00 0000000000000005 00000002 00 00", "88 00 0000000000000005 00000002 00 00")]
    [InlineData("7F 00 00000000 00 18 000B 00 00 0000000000000005 00000000 00000000 00000002", "7F 00 00000000 00 18 0009 00 00 0000000000000005 00000000 00000000 00000002")]
    [InlineData("9C 00 0000000000000005 0000 0002 00 00", "88 00 0000000000000005 00000002 00 00")]
    [InlineData("8E 02 0000000000000005 00000002 00 00", "88 00 0000000000000005 00000002 00 00")]
    public async Task WritesAreReadBack(string write, string read)
    {
        await using var unit = new TestUnit();
        var data = new byte[1024];
        Random.Shared.NextBytes(data);
        unit.Good(write, data);
        Assert.Equal(data, unit.Good(read));
        Assert.Equal(new byte[512], unit.Good("28 00 00000007 00 0001 00"));
    }

    [Fact]
    public async Task Read6OfZeroBlocksIs256()
    {
        await using var unit = new TestUnit();
        Assert.Equal(256 * 512, unit.Good("08 00 00 00 00 00").Length);
        Assert.Empty(unit.Good("28 00 00000000 00 0000 00"));
    }

    [Fact]
    public async Task CompareAndWriteComparesFirst()
    {
        await using var unit = new TestUnit();
        unit.Good("89 00 0000000000000003 00000001 00 00", [.. new byte[512], .. Filled(512, 1)]);
        var wrong = unit.Checks(Sense.MiscompareDuringVerify, "89 00 0000000000000003 00000001 00 00", [.. Filled(100, 1), .. new byte[412], .. Filled(512, 2)]);
        Assert.Equal(100UL, wrong.Detail.Information);
        Assert.Equal(Filled(512, 1), unit.Good("28 00 00000003 00 0001 00"));
    }

    [Theory]
    [InlineData("2F 02 00000003 00 0002 00")]
    [InlineData("AF 02 00000003 00000002 00 00")]
    [InlineData("8F 02 0000000000000003 00000002 00 00")]
    public async Task VerifyCompares(string verify)
    {
        await using var unit = new TestUnit();
        unit.Good("2A 00 00000003 00 0002 00", Filled(1024, 7));
        unit.Good(verify, Filled(1024, 7));
        unit.Checks(Sense.MiscompareDuringVerify, verify, [.. Filled(1023, 7), 8]);
    }

    [Fact]
    public async Task VerifyComparesOneBlockWithAll()
    {
        await using var unit = new TestUnit();
        unit.Good("2A 00 00000003 00 0002 00", Filled(1024, 7));
        unit.Good("2F 06 00000003 00 0002 00", Filled(512, 7));
        var wrong = unit.Checks(Sense.MiscompareDuringVerify, "2F 06 00000003 00 0003 00", Filled(512, 7));
        Assert.Equal(1024UL, wrong.Detail.Information);
    }

    [Fact]
    public async Task OrWriteSetsBits()
    {
        await using var unit = new TestUnit();
        unit.Good("2A 00 00000000 00 0001 00", Filled(512, 0x0F));
        unit.Good("8B 00 0000000000000000 00000001 00 00", Filled(512, 0xF0));
        Assert.Equal(Filled(512, 0xFF), unit.Good("28 00 00000000 00 0001 00"));
    }

    [Fact]
    public async Task WriteSameRepeatsAndUnmaps()
    {
        await using var unit = new TestUnit();
        unit.Good("93 00 0000000000000004 00000400 00 00", Filled(512, 9));
        Assert.Equal(Filled(512, 9), unit.Good("28 00 00000403 00 0001 00"));
        unit.Good("93 01 0000000000000004 00000400 00 00");
        Assert.Equal(new byte[512], unit.Good("28 00 00000403 00 0001 00"));
        unit.Good("41 08 00000004 00 0010 00", Filled(512, 9));
        Assert.Equal(Filled(512, 9), unit.Good("28 00 00000013 00 0001 00"));
        unit.Checks(Sense.InvalidFieldInCdb, "93 10 0000000000000004 00000001 00 00", Filled(512, 9));
    }

    [Fact]
    public async Task UnmapFreesAndLbaStatusTells()
    {
        await using var unit = new TestUnit(new MemoryBackstore(4 << 20));
        unit.Good("8A 00 0000000000000000 00000400 00 00", Filled(512 * 1024, 1));
        var list = new byte[24];
        list[1] = 22;
        list[3] = 16;
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), 256);
        BinaryPrimitives.WriteUInt32BigEndian(list.AsSpan(16), 128);
        unit.Good("42 00 00000000 00 0018 00", list);
        Assert.Equal(new byte[512], unit.Good("28 00 00000100 00 0001 00"));
        var status = unit.Good("9E 12 0000000000000000 00000100 00 00");
        // Mapped 0 to 255, free 256 to 383, mapped 384 to 1023, free to the end.
        (ulong, uint, byte)[] expected = [(0, 256, 0), (256, 128, 1), (384, 640, 0), (1024, 7168, 1)];
        Assert.Equal(expected, Enumerable.Range(0, (status.Length - 8) / 16).Select(i => (
            BinaryPrimitives.ReadUInt64BigEndian(status.AsSpan(8 + 16 * i)), BinaryPrimitives.ReadUInt32BigEndian(status.AsSpan(16 + 16 * i)), status[20 + 16 * i])));
    }

    [Fact]
    public async Task ModeSelectReachesOtherNexusesAndWriteProtects()
    {
        await using var unit = new TestUnit(nexuses: 2);
        var page = unit.Good("1A 08 0A 00 FF 00")[4..];
        page[0] &= 0x7F;
        page[4] |= 0x08; // SWP
        unit.Good("15 10 00 00 10 00", [0, 0, 0, 0, .. page]);
        unit.Checks(Sense.ModeParametersChanged, "00 00 00 00 00 00", nexus: 1);
        unit.Good("00 00 00 00 00 00", nexus: 1);
        unit.Checks(Sense.SoftwareWriteProtected, "2A 00 00000000 00 0001 00", new byte[512]);
        Assert.Equal(0x80, unit.Good("1A 08 0A 00 FF 00")[2] & 0x80);
        page[2] |= 0x01; // RLEC cannot be changed
        unit.Checks(Sense.InvalidFieldInParameterList, "15 10 00 00 10 00", [0, 0, 0, 0, .. page]);
    }

    [Fact]
    public async Task SavedModePagesOutliveTheUnit()
    {
        var state = new VolatileUnitStateProbe();
        await using (var unit = new TestUnit(state: state))
        {
            var page = unit.Good("1A 08 0A 00 FF 00")[4..];
            page[0] &= 0x7F;
            page[2] |= 0x04; // D_SENSE
            unit.Good("15 11 00 00 10 00", [0, 0, 0, 0, .. page]);
        }
        await using var again = new TestUnit(state: state);
        Assert.Equal(0x04, again.Good("1A 08 0A 00 FF 00")[6] & 0x04);
    }

    [Fact]
    public async Task ResizeIsTold()
    {
        string path = Path.GetTempFileName();
        try
        {
            await using var unit = new TestUnit(FileBackstore.Open(new() { Path = path, SizeBytes = 1 << 20 }));
            await unit.Unit.ResizeAsync(2 << 20);
            unit.Checks(Sense.CapacityChanged, "00 00 00 00 00 00");
            Assert.Equal(4095u, BinaryPrimitives.ReadUInt32BigEndian(unit.Good("25 00 00000000 0000 00 00")));
            unit.Good("28 00 00000FFF 00 0001 00");
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task BackstoreFailuresBecomeSense()
    {
        var store = new FailingBackstore();
        await using var unit = new TestUnit(store);
        foreach (var (error, sense) in ((BackstoreError, Sense)[])[
            (BackstoreError.MediumRead, Sense.UnrecoveredReadError), (BackstoreError.NoSpace, Sense.SpaceAllocationFailed),
            (BackstoreError.Unreachable, Sense.LogicalUnitCommunicationFailure), (BackstoreError.MediumWrite, Sense.WriteError)])
        {
            store.Failure = new BackstoreException(error, "as told", 1024);
            var result = unit.Checks(sense, "28 00 00000000 00 0004 00");
            Assert.Equal(sense.Key == SenseKey.MediumError, result.Detail.HasInformation);
            if (result.Detail.HasInformation) Assert.Equal(2UL, result.Detail.Information);
        }
        store.Failure = new InvalidOperationException("a bug");
        unit.Checks(Sense.InternalTargetFailure, "28 00 00000000 00 0004 00");
        store.Failure = null;
        unit.Good("28 00 00000000 00 0004 00");
    }

    private sealed class FailingBackstore : IBackstore
    {
        public Exception? Failure { get; set; }
        public BackstoreGeometry Geometry { get; } = new(1 << 20);
        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) =>
            Failure is null ? ValueTask.CompletedTask : ValueTask.FromException(Failure);
        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => ValueTask.CompletedTask;
        public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
    }
}
