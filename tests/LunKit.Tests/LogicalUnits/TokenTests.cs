using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>ROD tokens against writes, and the bounds of offloaded transfers.</summary>
public class TokenTests
{
    private static string Out(int action, int length) => $"83 {action:X2} 00000000 00000007 {length:X8} 00 00";

    private static byte[] Populate(TestUnit unit, params (long, uint)[] ranges)
    {
        var list = TokenLists.Populate(ranges);
        unit.Good(Out(0x10, list.Length), list);
        return unit.Good("84 07 00000007 00000000 00000400 00 00")[38..(38 + 512)];
    }

    private static byte[] ZeroToken()
    {
        var token = new byte[512];
        BinaryPrimitives.WriteUInt32BigEndian(token, 0xFFFF_0001);
        return token;
    }

    private static Sense Use(TestUnit unit, byte[] token, long offset, params (long, uint)[] ranges)
    {
        var list = TokenLists.Write(token, offset, ranges);
        return unit.Run(Out(0x11, list.Length), list).Result.Sense;
    }

    private static string Write(long lba, int count) => $"8A 00 {lba:X16} {count:X8} 00 00";

    // A token of [100, 200): which writes make it void?
    [Theory]
    [InlineData(99, 1, true)]
    [InlineData(90, 10, true)]
    [InlineData(99, 2, false)]
    [InlineData(100, 1, false)]
    [InlineData(199, 1, false)]
    [InlineData(199, 5, false)]
    [InlineData(50, 300, false)]
    [InlineData(200, 1, true)]
    public async Task WritesAtBothEndsOfARange(long lba, int count, bool survives)
    {
        await using var unit = new TestUnit();
        var token = Populate(unit, (100, 100));
        unit.Good(Write(lba, count), new byte[512 * count]);
        Assert.Equal(survives ? default : Sense.InvalidTokenUnknown, Use(unit, token, 0, (1000, 100)));
    }

    // The blocks come back empty: a copy of them is not what the token stood for.
    [Fact]
    public async Task BlocksThatWentTakeTheirTokensAlong()
    {
        string path = Path.GetTempFileName();
        await using var unit = new TestUnit(FileBackstore.Open(new() { Path = path, SizeBytes = 1 << 20 }));
        unit.Good(Write(1900, 100), Enumerable.Repeat((byte)0x5A, 512 * 100).ToArray());
        byte[] gone = Populate(unit, (1000, 50), (1900, 100)), kept = Populate(unit, (100, 100));
        // .NET would ask for the lock first.
        using (var truncate = System.Diagnostics.Process.Start("truncate", ["-s", $"{512 * 1950}", path])) await truncate.WaitForExitAsync();
        File.Delete(path);
        await unit.Unit.RefreshSizeAsync();
        await unit.Unit.ResizeAsync(512 * 2048);
        while (unit.Run("00 00 00 00 00 00").Result.Status != ScsiStatus.Good) { }
        Assert.Equal(Sense.InvalidTokenUnknown, Use(unit, gone, 50, (0, 100)));
        Assert.Equal(default, Use(unit, kept, 0, (500, 100)));
    }

    [Theory]
    [InlineData("2E 00 000000C7 00 0001 00", 512)]
    [InlineData("41 00 000000C7 00 0001 00", 512)]
    [InlineData("93 01 00000000000000C7 00000001 00 00", 0)]
    [InlineData("93 08 00000000000000C7 00000001 00 00", 512)]
    [InlineData("8B 00 00000000000000C7 00000001 00 00", 512)]
    [InlineData("89 00 00000000000000C7 00000001 00 00", 1024)]
    [InlineData("9C 00 00000000000000C7 0000 0001 00 00", 512)]
    public async Task EveryCommandThatWritesRevokes(string cdb, int data)
    {
        await using var unit = new TestUnit();
        Populate(unit, (200, 100));
        var token = Populate(unit, (100, 100));
        unit.Good(cdb, new byte[data]);
        Assert.Equal(Sense.InvalidTokenUnknown, Use(unit, token, 0, (1000, 100)));
    }

    [Theory]
    [InlineData(96, 4, true)]
    [InlineData(199, 1, false)]
    [InlineData(200, 8, true)]
    public async Task UnmapRevokesWhatItFrees(int lba, int count, bool survives)
    {
        await using var unit = new TestUnit();
        var token = Populate(unit, (100, 100));
        byte[] list = [0, 38, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, (byte)(lba >> 8), (byte)lba, 0, 0, 0, (byte)count, 0, 0, 0, 0];
        unit.Good("42 00 00000000 00 0028 00", list);
        Assert.Equal(survives ? default : Sense.InvalidTokenUnknown, Use(unit, token, 0, (1000, 100)));
    }

    [Theory]
    [InlineData("8A 00 0000000000000064 00000001 00 00", "write")]
    [InlineData("8A 00 00000000000000C7 00000001 00 00", "write")]
    [InlineData("93 01 0000000000000064 00000001 00 00", "zeroes")]
    [InlineData("93 09 0000000000000064 00000001 00 00", "discard")]
    [InlineData("8B 00 0000000000000064 00000001 00 00", "write")]
    [InlineData("42 00 00000000 00 0018 00", "discard")]
    public async Task ATokenWaitsForTheWritesThatAreRunning(string cdb, string call)
    {
        var store = new RecordingBackstore();
        await using var unit = new TestUnit(store);
        var gate = new TaskCompletionSource();
        store.Before = c => c == call ? gate.Task : Task.CompletedTask;
        byte[] data = cdb.StartsWith("42", StringComparison.Ordinal)
            ? [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 4, 0, 0, 0, 0]
            : new byte[512];
        var writing = unit.Start(new TestCommand(), cdb, data).AsTask();
        var list = TokenLists.Populate((100, 100));
        var populating = unit.Start(new TestCommand(), Out(0x10, list.Length), list).AsTask();
        Assert.False(populating.IsCompleted);
        store.Before = null;
        gate.SetResult();
        Assert.Equal(ScsiStatus.Good, (await writing).Status);
        Assert.Equal(ScsiStatus.Good, (await populating).Status);
        var token = unit.Good("84 07 00000007 00000000 00000400 00 00")[38..(38 + 512)];
        Assert.Equal(default, Use(unit, token, 0, (1000, 100)));
    }

    [Fact]
    public async Task ACopyOfWhatChangedMeanwhileIsNoSuccess()
    {
        var store = new RecordingBackstore();
        await using var unit = new TestUnit(store);
        var token = Populate(unit, (100, 100));
        var gate = new TaskCompletionSource();
        int writes = 0;
        store.Before = c => c == "write" && Interlocked.Increment(ref writes) == 1 ? gate.Task : Task.CompletedTask;
        var list = TokenLists.Write(token, 0, (1000, 100));
        var copying = unit.Start(new TestCommand(), Out(0x11, list.Length), list).AsTask();
        Assert.Equal(1, writes);
        unit.Good(Write(150, 1), new byte[512]);
        gate.SetResult();
        Assert.Equal(Sense.InvalidTokenRevoked, (await copying).Sense);
        // The operation's outcome says so too.
        Assert.Equal(0x02, unit.Good("84 07 00000007 00000000 00000400 00 00")[5]);
    }

    [Theory]
    [InlineData(0, 100, true)]
    [InlineData(99, 1, true)]
    [InlineData(100, 0, true)]
    [InlineData(0, 101, false)]
    [InlineData(100, 1, false)]
    [InlineData(-1, 1, false)]
    [InlineData((1L << 55) - 100, 1, false)]
    [InlineData(long.MaxValue, 1, false)]
    [InlineData(1L << 55, 1, false)]
    public async Task OffsetsStayInsideTheToken(long offset, uint count, bool fits)
    {
        await using var unit = new TestUnit();
        unit.Good(Write(200, 100), new byte[51200]);
        var token = Populate(unit, (200, 100));
        Assert.Equal(fits ? default : Sense.InvalidFieldInParameterList, Use(unit, token, offset, (1000, count)));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(17)]
    [InlineData(64)]
    [InlineData(1024)]
    public async Task TheZeroTokenWritesWhatThePagePromises(int megabytes)
    {
        uint blocks = (uint)megabytes * 2048;
        var store = new RecordingBackstore(2L << 30);
        await using var unit = new TestUnit(store);
        foreach (long lba in (long[])[4, 5, 4 + blocks / 2, 4 + blocks, 5 + blocks]) unit.Good(Write(lba, 1), [.. Enumerable.Repeat((byte)1, 512)]);
        Assert.Equal(default, Use(unit, ZeroToken(), 0, (5, blocks)));
        string expected = "1 0 0 0 1";
        Assert.Equal(expected, string.Join(' ', ((long[])[4, 5, 4 + blocks / 2, 4 + blocks, 5 + blocks])
            .Select(lba => unit.Good($"88 00 {lba:X16} 00000001 00 00")[0])));
    }

    [Fact]
    public async Task MoreThanThePagePromisesIsRefused()
    {
        await using var unit = new TestUnit(new RecordingBackstore(2L << 30));
        Assert.Equal(Sense.InvalidFieldInParameterList, Use(unit, ZeroToken(), 0, (0, (1 << 21) + 1)));
    }

    [Fact]
    public async Task RangesPastTheEndNameTheFirstBlockThatIsNot()
    {
        await using var unit = new TestUnit();
        var list = TokenLists.Populate((2047, 2));
        Assert.Equal(2048UL, unit.Checks(Sense.LbaOutOfRange, Out(0x10, list.Length), list).Detail.Information);
        byte[] unmap = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07, 0xFF, 0, 0, 0, 2, 0, 0, 0, 0];
        Assert.Equal(2048UL, unit.Checks(Sense.LbaOutOfRange, "42 00 00000000 00 0018 00", unmap).Detail.Information);
    }
}
