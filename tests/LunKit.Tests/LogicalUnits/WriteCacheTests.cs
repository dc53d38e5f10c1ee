using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>What is acknowledged is on the medium where FUA or a write cache that is off promise it.</summary>
public class WriteCacheTests
{
    private readonly RecordingBackstore _store = new();

    private static byte[] Filled(int length, byte value) => [.. Enumerable.Repeat(value, length)];

    private static byte[] CachingPage(bool on) => [0, 0, 0, 0, 0x08, 18, (byte)(on ? 0x04 : 0), .. new byte[17]];

    private static byte[] UnmapList() => [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 0];

    [Theory]
    [InlineData("15 10 00 00 18 00")]
    [InlineData("15 11 00 00 18 00")]
    [InlineData("55 10 00 00 00 00 00 001C 00")]
    public async Task TurningTheCacheOffFlushesBeforeItAnswers(string select)
    {
        await using var unit = new TestUnit(_store);
        byte[] page = CachingPage(on: false), list = select.StartsWith("15", StringComparison.Ordinal) ? page : [.. new byte[8], .. page[4..]];
        unit.Good("2A 00 00000000 00 0001 00", Filled(512, 1));
        Assert.Equal(["write"], _store.Calls);
        var flush = new TaskCompletionSource();
        _store.Before = call => call == "flush" ? flush.Task : Task.CompletedTask;
        var command = new TestCommand();
        var running = unit.Start(command, select, list).AsTask();
        Assert.False(running.IsCompleted);
        Assert.Equal(["write", "flush"], _store.Calls);
        flush.SetResult();
        Assert.Equal(ScsiStatus.Good, (await running).Status);
        Assert.Equal(0, unit.Good("1A 08 08 00 FF 00")[6] & 0x04);
    }

    [Fact]
    public async Task AFailedFlushIsTheAnswerAndTheNextAttemptFlushesAgain()
    {
        await using var unit = new TestUnit(_store);
        _store.FlushFailure = new BackstoreException(BackstoreError.MediumWrite, "lost");
        unit.Checks(Sense.WriteError, "15 10 00 00 18 00", CachingPage(on: false));
        unit.Checks(Sense.WriteError, "15 10 00 00 18 00", CachingPage(on: false));
        _store.FlushFailure = null;
        unit.Good("15 10 00 00 18 00", CachingPage(on: false));
        Assert.Equal(["flush", "flush", "flush"], _store.Calls);
        unit.Good("15 10 00 00 18 00", CachingPage(on: true));
        Assert.Equal(3, _store.Calls.Count);
    }

    [Theory]
    [InlineData("2A 00 00000000 00 0001 00", "write", 1)]
    [InlineData("8B 00 0000000000000000 00000001 00 00", "write", 1)]
    [InlineData("89 00 0000000000000000 00000001 00 00", "write", 2)]
    [InlineData("93 00 0000000000000000 00000001 00 00", "write", 1)]
    [InlineData("93 01 0000000000000000 00000001 00 00", "zeroes", 0)]
    [InlineData("93 09 0000000000000000 00000001 00 00", "discard", 0)]
    [InlineData("9C 00 0000000000000000 0000 0001 00 00", "write", 1)]
    public async Task AWriteThatRunsWhileTheCacheGoesOffIsFlushed(string cdb, string call, int blocks)
    {
        await using var unit = new TestUnit(_store);
        var gate = new TaskCompletionSource();
        _store.Before = c => c == call ? gate.Task : Task.CompletedTask;
        byte[] data = blocks == 2 ? [.. new byte[512], .. Filled(512, 1)] : Filled(512 * blocks, 1);
        var running = unit.Start(new TestCommand(), cdb, data).AsTask();
        Assert.False(running.IsCompleted);
        unit.Good("15 10 00 00 18 00", CachingPage(on: false));
        _store.Forget();
        gate.SetResult();
        Assert.Equal(ScsiStatus.Good, (await running).Status);
        Assert.Equal(["flush"], _store.Calls);
    }

    // Every command that writes: cache on, cache off, and with FUA where it has the bit.
    [Theory]
    [InlineData("0A 00 00 00 01 00", null, "write", 1)]
    [InlineData("2A 00 00000000 00 0001 00", "2A 08 00000000 00 0001 00", "write", 1)]
    [InlineData("AA 00 00000000 00000001 00 00", "AA 08 00000000 00000001 00 00", "write", 1)]
    [InlineData("8A 00 0000000000000000 00000001 00 00", "8A 08 0000000000000000 00000001 00 00", "write", 1)]
    [InlineData("7F 00 00000000 00 18 000B 00 00 0000000000000000 00000000 00000000 00000001",
        "7F 00 00000000 00 18 000B 08 00 0000000000000000 00000000 00000000 00000001", "write", 1)]
    [InlineData("9C 00 0000000000000000 0000 0001 00 00", "9C 08 0000000000000000 0000 0001 00 00", "write", 1)]
    [InlineData("8B 00 0000000000000000 00000001 00 00", "8B 08 0000000000000000 00000001 00 00", "read, write", 1)]
    [InlineData("89 00 0000000000000000 00000001 00 00", "89 08 0000000000000000 00000001 00 00", "read, write", 2)]
    [InlineData("41 00 00000000 00 0001 00", null, "write", 1)]
    [InlineData("93 00 0000000000000000 00000001 00 00", null, "write", 1)]
    [InlineData("93 01 0000000000000000 00000001 00 00", null, "zeroes", 0)]
    public async Task WritesGoThroughWhenTheyMust(string cdb, string? withFua, string calls, int blocks)
    {
        byte[] Data() => blocks == 2 ? [.. new byte[512], .. Filled(512, 1)] : Filled(512 * blocks, 1);
        foreach (var (text, cache, expected) in (List<(string?, bool, string)>)[(cdb, true, calls), (withFua, true, $"{calls} FUA"), (cdb, false, $"{calls} FUA")])
        {
            if (text is null) continue;
            var store = new RecordingBackstore();
            await using var unit = new TestUnit(store, new() { WriteCache = cache });
            unit.Good(text, Data());
            Assert.Equal(expected, string.Join(", ", store.Calls));
        }
    }

    [Theory]
    [InlineData("2E 00 00000000 00 0001 00")]
    [InlineData("AE 00 00000000 00000001 00 00")]
    [InlineData("8E 00 0000000000000000 00000001 00 00")]
    public async Task WriteAndVerifyAlwaysGoesThrough(string cdb)
    {
        await using var unit = new TestUnit(_store);
        unit.Good(cdb, Filled(512, 1));
        Assert.Equal(["write FUA", "read"], _store.Calls);
    }

    [Theory]
    [InlineData(true, "discard")]
    [InlineData(false, "discard, flush")]
    public async Task WhatIsUnmappedIsFlushedWithTheCacheOff(bool cache, string calls)
    {
        await using var unit = new TestUnit(_store, new() { WriteCache = cache });
        unit.Good("42 00 00000000 00 0018 00", UnmapList());
        Assert.Equal(calls, string.Join(", ", _store.Calls));
        _store.Forget();
        unit.Good("93 09 0000000000000000 00000001 00 00");
        Assert.Equal(calls, string.Join(", ", _store.Calls));
    }
}
