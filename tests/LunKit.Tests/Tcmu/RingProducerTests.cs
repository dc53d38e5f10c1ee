using System.Buffers.Binary;
using LunKit.Tcmu.Ring;

namespace LunKit.Tests.Tcmu;

/// <summary>The target's side of a ring against an honest consumer in every order, and against one that lies.</summary>
public sealed class RingProducerTests
{
    private const int RingBytes = 4096, DataBytes = 256 * 1024;

    private static byte[] Region() => new byte[RingBytes + DataBytes];

    /// <summary>Any interleaving of posting, reading, completing out of order, keeping, and telling of aborts: each command ends once.</summary>
    [Theory]
    [InlineData(1, 0xF)]
    [InlineData(2, 0xF)]
    [InlineData(3, 0x0)]
    [InlineData(4, 0x7)]
    [InlineData(5, 0x400F)]
    public void EveryCommandCompletesOnce(int seed, int flags)
    {
        var random = new Random(seed);
        var region = Region();
        var producer = new RingProducer(region, RingBytes, maxCommands: 20, (MailboxFlags)flags);
        var area = new DataArea(RingBytes, DataBytes);
        var consumer = new RingConsumer(region);
        var posted = new Dictionary<ushort, (byte[] Cdb, List<DataRun> Runs, int Bytes, CommandOriginAbi Origin)>();
        var open = new List<ushort>();      // read by the consumer, not completed
        var kept = new List<ushort>();
        int completed = 0, refused = 0;
        var sense = new byte[96];
        for (int step = 0; step < 20_000; step++)
        {
            switch (random.Next(6))
            {
                case 0 or 1:
                    int bytes = random.Next(3) == 0 ? 0 : random.Next(1, 40_000);
                    var runs = new List<DataRun>();
                    if (!area.TryTake(bytes, runs)) break;
                    var cdb = new byte[random.Next(4) switch { 0 => 6, 1 => 10, 2 => 16, _ => 32 }];
                    random.NextBytes(cdb);
                    cdb[0] = cdb.Length switch { 6 => 0x00, 10 => 0x28, 16 => 0x88, _ => 0x7F };
                    if (cdb.Length == 32) cdb[7] = 24;
                    bool tells = (flags & 0x4000) != 0;
                    var origin = tells ? new CommandOriginAbi { Initiator = (ulong)random.NextInt64(), Tag = (ulong)random.NextInt64(), TargetPort = 1, Lun = 2, Attribute = 3, DataOutBufferSize = (uint)random.Next() } : default;
                    if ((tells ? producer.TryPost(cdb, runs.ToArray(), 0, origin) : producer.TryPost(cdb, runs.ToArray())) is { } id)
                    {
                        Assert.NotEqual(0, id);
                        Assert.True(posted.TryAdd(id, (cdb, runs, bytes, origin)), "an id that is in use was given again");
                        foreach (var run in runs) region.AsSpan(run.Offset, run.Length).Fill((byte)id);
                    }
                    else
                    {
                        area.Free(runs);
                        refused++;
                    }
                    if (random.Next(2) == 0) producer.Publish();
                    break;
                case 2:
                    producer.Publish();
                    var entry = new RingEntry();
                    switch (consumer.TryRead(entry))
                    {
                        case RingOpcode.Command:
                            var (sent, _, length, from) = posted[entry.Id];
                            Assert.Equal(sent, entry.Cdb.ToArray());
                            Assert.Equal(length, entry.Data.Length);
                            Assert.Equal(from, entry.Origin);
                            Assert.Equal(-1, entry.Data.ToArray().AsSpan().IndexOfAnyExcept((byte)entry.Id));
                            open.Add(entry.Id);
                            break;
                        case RingOpcode.TaskManagement:
                            Assert.Equal(5, entry.TaskManagement.Type);
                            break;
                    }
                    break;
                case 3 when open.Count > 0:
                    int which = random.Next(open.Count);
                    if ((flags & 8) != 0 && random.Next(8) == 0) consumer.CompleteKept(open[which], 0x40);
                    else consumer.Complete(open[which], 2, [0x70, 0, (byte)open[which]], random.Next(1000));
                    open.RemoveAt(which);
                    if (random.Next(2) == 0) consumer.Publish();
                    break;
                case 4:
                    consumer.Publish();
                    while (producer.TryTake(sense, out var done))
                    {
                        Assert.DoesNotContain(done.Id, open);
                        if (done.KeepsBuffers)
                        {
                            kept.Add(done.Id);
                            continue;
                        }
                        Assert.Equal((byte)done.Id, sense[2]);
                        Assert.True(posted.Remove(done.Id, out var command));
                        area.Free(command.Runs);
                        completed++;
                    }
                    break;
                case 5 when kept.Count > 0:
                    Assert.True(producer.FreeKept(kept[0]));
                    Assert.False(producer.FreeKept(kept[0]));
                    posted.Remove(kept[0], out var freed);
                    area.Free(freed.Runs);
                    kept.RemoveAt(0);
                    completed++;
                    break;
                case 5 when (flags & 4) != 0 && random.Next(4) == 0:
                    producer.TryPostManagement(5, [.. open.Take(3)]);
                    break;
            }
            Assert.Equal(posted.Count, producer.Outstanding);
        }
        Assert.True(completed > 500, $"{completed} completed");
        Assert.True(refused > 10, $"{refused} refused");
    }

    [Fact]
    public void DataAreaGivesTheLowestBlocksInFewRuns()
    {
        var area = new DataArea(4096, 100 * DataArea.BlockBytes);
        List<DataRun> a = [], b = [], c = [], d = [];
        Assert.True(area.TryTake(3 * 4096, a));
        Assert.True(area.TryTake(1, b));
        Assert.True(area.TryTake(8192, c));
        Assert.Equal([new DataRun(4096, 12288)], a);
        Assert.Equal([new DataRun(16384, 1)], b);
        area.Free(b);
        Assert.True(area.TryTake(3 * 4096 - 100, d));
        Assert.Equal([new DataRun(16384, 4096), new DataRun(28672, 8092)], d);
        Assert.Equal(100 - 8, area.FreeBlocks);
        Assert.False(area.TryTake(93 * 4096, []));
        List<DataRun> all = [];
        Assert.True(area.TryTake(92 * 4096, all));
        Assert.Equal(0, area.FreeBlocks);
        Assert.Equal(4096 + 100 * 4096, area.UnusedFrom);
        foreach (var runs in new[] { a, c, d, all }) area.Free(runs);
        Assert.Equal((100, 4096), (area.FreeBlocks, area.UnusedFrom));
    }

    public static TheoryData<string> Lies => ["tail off the entries", "tail past the head", "unaligned tail", "id that is not out", "id twice", "id 0", "id beyond all", "tail before anything is shown"];

    [Theory, MemberData(nameof(Lies))]
    public void LiesAreSaid(string lie)
    {
        var region = Region();
        var producer = new RingProducer(region, RingBytes, maxCommands: 20);
        ushort first = producer.TryPost(new byte[6], [])!.Value, second = producer.TryPost(new byte[6], [])!.Value;
        if (lie != "tail before anything is shown") producer.Publish();
        const int EntryBytes = 120;
        void Complete(int slot, ushort id) => BinaryPrimitives.WriteUInt16LittleEndian(region.AsSpan(128 + slot * EntryBytes + 4), id);
        void Tail(uint tail) => BinaryPrimitives.WriteUInt32LittleEndian(region.AsSpan(64), tail);
        switch (lie)
        {
            case "tail off the entries": Tail(64); break;
            case "tail past the head": Tail(3 * EntryBytes); break;
            case "unaligned tail": Tail(EntryBytes + 1); break;
            case "id that is not out": Complete(0, 9); Tail(EntryBytes); break;
            case "id twice": Complete(0, second); Complete(1, second); Tail(2 * EntryBytes); break;
            case "id 0": Complete(0, 0); Tail(EntryBytes); break;
            case "id beyond all": Complete(0, 60000); Tail(EntryBytes); break;
            default: Tail(EntryBytes); break;
        }
        Assert.NotEqual(first, second);
        var sense = new byte[96];
        Assert.Contains("broke the ring", Assert.Throws<RingException>(() => { while (producer.TryTake(sense, out _)) { } }).Message, StringComparison.Ordinal);
        // A reset makes it whole again.
        producer.Reset();
        Assert.Equal(0, producer.Outstanding);
        Assert.NotNull(producer.TryPost(new byte[6], []));
    }

    [Fact]
    public void LengthsAndOpcodesAreNotReadBack()
    {
        var region = Region();
        var producer = new RingProducer(region, RingBytes);
        ushort id = producer.TryPost([0x12, 0, 0, 0, 36, 0], [new DataRun(RingBytes, 36)])!.Value;
        producer.Publish();
        // The handler scribbles over the whole entry, but answers in its place.
        region.AsSpan(128, 120).Fill(0xEE);
        BinaryPrimitives.WriteUInt16LittleEndian(region.AsSpan(132), id);
        region[135] = 2; // READ_LEN
        region[136] = 0;
        BinaryPrimitives.WriteUInt32LittleEndian(region.AsSpan(140), 0xFFFF_FFFF);
        BinaryPrimitives.WriteUInt32LittleEndian(region.AsSpan(64), 120);
        Assert.True(producer.TryTake(new byte[96], out var done));
        Assert.Equal((id, (byte)0, int.MaxValue), (done.Id, done.Status, done.ReadLength));
        Assert.False(producer.TryTake(new byte[96], out _));
    }
}
