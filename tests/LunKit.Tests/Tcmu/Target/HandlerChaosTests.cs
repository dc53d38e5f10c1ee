using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;
using LunKit.Tcmu.Target;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>
/// Any order of commands, completions out of order, deaths, time-outs and aborts: every command ends exactly once, with its own data, and nothing
/// of the data area is lost.
/// </summary>
public sealed class HandlerChaosTests
{
    private sealed record Sent(Task<(CommandResult Result, byte[] Data)> Task, int Lba, bool Writes);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task EveryCommandEndsOnceWithItsOwnData(int seed)
    {
        var random = new Random(seed);
        var options = new UserRingOptions { RingBytes = 8192, DataAreaBytes = 1 << 20, MaxCommands = 24, CommandTimeout = TimeSpan.FromSeconds(2), QueueTimeout = TimeSpan.FromSeconds(2) };
        await using var bench = new UserBench(options);
        var handler = new ScriptedHandler(bench.Path).Open();
        var sent = new List<Sent>();
        var read = new List<RingEntry>();
        int good = 0, other = 0, deaths = 0;
        for (int step = 0; step < 1500; step++)
        {
            switch (random.Next(12))
            {
                case <= 4 when sent.Count < 200:
                    int lba = step, blocks = random.Next(1, 33);
                    bool writes = random.Next(2) == 0;
                    sent.Add(new(writes ? bench.SendAsync(UserBench.Write(lba, blocks), UserBench.Pattern(lba, blocks)) : bench.SendAsync(UserBench.Read(lba, blocks), dataIn: blocks * 512), lba, writes));
                    break;
                case <= 7:
                    for (var entry = new RingEntry(); handler.TryRead(entry) is { } opcode; entry = new RingEntry())
                        if (opcode == RingOpcode.Command) read.Add(entry);
                    break;
                case <= 10 when read.Count > 0:
                    for (int count = random.Next(1, 6); count > 0 && read.Count > 0; count--)
                    {
                        var entry = read[random.Next(read.Count)];
                        read.Remove(entry);
                        int at = entry.Cdb[4] << 8 | entry.Cdb[5], length = entry.Data.Length / 512;
                        if (entry.Cdb[0] == 0x2A) Assert.Equal(UserBench.Pattern(at, length), entry.Data.ToArray());
                        else entry.Data.CopyFrom(UserBench.Pattern(at, length));
                        handler.Complete(entry);
                    }
                    break;
                case 11 when random.Next(8) == 0:
                    handler.Dispose();
                    read.Clear();
                    deaths++;
                    handler = new ScriptedHandler(bench.Path).Open();
                    break;
            }
            if (step % 50 == 0) await Task.Delay(1, TestContext.Current.CancellationToken);
            foreach (var done in sent.Where(s => s.Task.IsCompleted).ToList())
            {
                sent.Remove(done);
                await CheckAsync(done);
            }
        }
        // The rest is answered, or runs out of time.
        while (sent.Count > 0)
        {
            for (var entry = new RingEntry(); handler.TryRead(entry) is { } opcode; entry = new RingEntry())
            {
                if (opcode != RingOpcode.Command) continue;
                int at = entry.Cdb[4] << 8 | entry.Cdb[5];
                if (entry.Cdb[0] == 0x28) entry.Data.CopyFrom(UserBench.Pattern(at, entry.Data.Length / 512));
                handler.Complete(entry);
            }
            foreach (var entry in read) handler.Complete(entry, status: 0x08);
            read.Clear();
            var done = await Task.WhenAny(sent.Select(s => s.Task).Cast<Task>().Append(Task.Delay(20, TestContext.Current.CancellationToken)));
            foreach (var s in sent.Where(s => s.Task == done).ToList())
            {
                sent.Remove(s);
                await CheckAsync(s);
            }
        }
        handler.Dispose();
        Assert.True(good > 200 && deaths > 2, $"{good} good, {other} others, {deaths} deaths: the test proves nothing");
        await UserBench.UntilAsync(() => bench.Unit is { CommandCount: 0, DataBytesInUse: <= 256 * 1024 }, "giving everything back");

        async Task CheckAsync(Sent s)
        {
            var (result, data) = await s.Task;
            if (result.Status != ScsiStatus.Good)
            {
                other++;
                Assert.True(result.Status is ScsiStatus.Busy or ScsiStatus.TaskSetFull ||
                    result.Sense == Sense.LogicalUnitCommunicationFailure || result.Sense == UnflushedWrites.HandlerRestarted, $"{result}");
                return;
            }
            good++;
            if (!s.Writes) Assert.Equal(UserBench.Pattern(s.Lba, data.Length / 512), data);
        }
    }
}
