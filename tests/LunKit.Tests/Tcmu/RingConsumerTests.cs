using LunKit.Tcmu.Ring;

namespace LunKit.Tests.Tcmu;

public class RingConsumerTests
{
    private static List<string> ReadAll(RingConsumer ring)
    {
        var seen = new List<string>();
        var entry = new RingEntry();
        while (ring.TryRead(entry) is { } kind)
        {
            seen.Add(kind == RingOpcode.Command
                ? $"{entry.Id} {Convert.ToHexStringLower(entry.Cdb)} {entry.Data.Length}/{entry.Data.CountSegments()}"
                : $"tmr {entry.TaskManagement.Type} {string.Join(',', entry.TaskManagement.CommandIds)}");
        }
        return seen;
    }

    [Fact]
    public void FreshDeviceIsEmpty()
    {
        var ring = new RingConsumer(CapturedRing.Load("1-empty"));
        Assert.Equal((MailboxFlags)0xF, ring.Flags);
        Assert.Empty(ReadAll(ring));
        Assert.False(ring.Publish());
    }

    [Fact]
    public void ReadsWhatTheKernelWrote()
    {
        Assert.Equal(["1 120000002400 36/1"], ReadAll(new RingConsumer(CapturedRing.Load("2-scan-inquiry"))));
        Assert.Equal(
        [
            "1 120000002400 36/1", "2 28000000001000000800 4096/1", "3 2a000000002000002000 16384/1",
            "4 9e100000000000000000000000200000 32/1", "5 000000000000 0/0", "6 88000000000000000080000000800000 65536/1",
            "7 35000000000000000000 0/0", "8 42000000000000001800 24/1", "9 93000000000000000040000000100000 512/1",
            "10 89000000000000000030000000010000 1024/1", "11 c5010203040506070809 100/1",
        ], ReadAll(new RingConsumer(CapturedRing.Load("4-mixed"))));
        Assert.Equal(["1 28000000001000000800 4096/1", "2 120000002400 36/1", "tmr 1 1"], ReadAll(new RingConsumer(CapturedRing.Load("6-tmr-abort"))));
        Assert.Equal(["1 120000002400 36/1", "tmr 5 1"], ReadAll(new RingConsumer(CapturedRing.Load("6-tmr-reset"))));
    }

    [Fact]
    public void GoesAcrossThePadAndOn()
    {
        var region = CapturedRing.Load("8-pad");
        var ring = new RingConsumer(region);
        Assert.Equal(
        [
            "1 28000000000000000100 512/1", "2 28000000000100000100 512/1", "3 28000000000200000100 512/1",
            "4 28000000000300000100 512/1", "5 28000000000400000100 512/1", "6 28000000000500000100 512/1",
        ], ReadAll(ring));
        foreach (ushort id in (ushort[])[6, 2, 1, 3, 5, 4]) ring.Complete(id, 0, default);
        Assert.True(ring.Publish());
        Assert.Equal(384u, BitConverter.ToUInt32(region, 64));
        // The slots were taken in order, whatever order the commands ended in; the PAD kept its place.
        Assert.Equal([6, 2, 1], (int[])[region[128 + 1048032 + 4], region[128 + 1048160 + 4], region[128 + 1048288 + 4]]);
        Assert.Equal([3, 5, 4], (int[])[region[128 + 4], region[128 + 128 + 4], region[128 + 256 + 4]]);
    }

    [Fact]
    public void DataInPiecesIsOneBuffer()
    {
        var ring = new RingConsumer(CapturedRing.Load("9-iov"));
        var entry = new RingEntry();
        Assert.Equal(RingOpcode.Command, ring.TryRead(entry));
        Assert.Equal(2, entry.Data.CountSegments());
        var data = entry.Data.ToArray();
        Assert.Equal(16384, data.Length);
        for (int i = 0; i < data.Length / 8; i++) Assert.Equal($"W{i:0000000}", System.Text.Encoding.ASCII.GetString(data, i * 8, 8));
        ring.TryRead(entry);
        ring.TryRead(entry);
        Assert.Equal((32768, 3), (entry.Data.Length, entry.Data.CountSegments()));
        Assert.Equal("W0000000", System.Text.Encoding.ASCII.GetString(entry.Data.ToArray(), 0, 8));
    }

    [Fact]
    public void AnswersLieWhereTheKernelLooks()
    {
        var kernel = new FakeKernel(4096, 4096);
        var ring = new RingConsumer(kernel.Region);
        ushort first = kernel.Post(new byte[6], (0, 512))!.Value, second = kernel.Post(new byte[6], (512, 512))!.Value;
        ReadAll(ring);
        ring.Complete(first, 2, [0x70, 0, 5]);
        ring.Complete(second, 0, default, readLength: 100);
        Assert.True(ring.Publish());
        var done = kernel.Consume();
        Assert.Equal((first, (byte)0, (byte)2, 0u), (done[0].Id, done[0].Flags, done[0].Status, done[0].ReadLength));
        Assert.Equal([0x70, 0, 5, 0], done[0].Sense[..4]);
        Assert.Equal((second, (byte)2, (byte)0, 100u), (done[1].Id, done[1].Flags, done[1].Status, done[1].ReadLength));
    }

    [Fact]
    public void EachFeatureIsUsedOnlyWhereItIs()
    {
        var kernel = new FakeKernel(4096, 4096, flags: 0);
        var ring = new RingConsumer(kernel.Region);
        var ids = Enumerable.Range(0, 3).Select(_ => kernel.Post(new byte[6], (0, 512))!.Value).ToList();
        ReadAll(ring);
        // In order only: what is done early waits.
        ring.Complete(ids[2], 0, default, readLength: 7);
        ring.Complete(ids[1], 8, default);
        Assert.False(ring.Publish());
        ring.Complete(ids[0], 0, default);
        Assert.True(ring.Publish());
        Assert.Equal([(ids[0], (byte)0, (byte)0), (ids[1], 0, 8), (ids[2], 0, 0)], kernel.Consume().Select(d => (d.Id, d.Flags, d.Status)));
        // A TMR that was not announced is an unknown entry.
        ushort unknown = kernel.PostUnknown(2)!.Value;
        Assert.Empty(ReadAll(ring));
        Assert.True(ring.Publish());
        Assert.Equal([(unknown, (byte)1)], kernel.Consume().Select(d => (d.Id, d.Flags)));
    }

    /// <summary>Its answer took the slot of the command before it, whose own has no room in what is left.</summary>
    [Fact]
    public void AShortEntryOfAnUnknownKindBehindACommandBreaksTheRing()
    {
        var kernel = new FakeKernel(4096, 4096);
        var ring = new RingConsumer(kernel.Region);
        ushort id = kernel.Post(new byte[6], (0, 512))!.Value;
        kernel.PostUnknown(5);
        ReadAll(ring);
        Assert.Contains("64 bytes", Assert.Throws<RingException>(() => ring.Complete(id, 0, default)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void NotificationsAreAnsweredByPassingThem()
    {
        var kernel = new FakeKernel(4096, 4096);
        var ring = new RingConsumer(kernel.Region);
        kernel.PostManagement(5);
        Assert.Equal(["tmr 5 "], ReadAll(ring));
        Assert.True(ring.Publish());
        Assert.Empty(kernel.Consume());
        ushort id = kernel.Post(new byte[6])!.Value;
        kernel.PostManagement(1, id);
        Assert.Equal([$"{id} 000000000000 0/0", $"tmr 1 {id}"], ReadAll(ring));
        Assert.False(ring.Publish()); // the command before it is open
        ring.Complete(id, 0x40, default);
        Assert.True(ring.Publish());
        Assert.Equal([id], kernel.Consume().Select(d => d.Id));
    }

    /// <summary>Any interleaving of posting, reading and completing in any order: each command is completed once, as it was answered.</summary>
    [Theory]
    [InlineData(1, 0xF)]
    [InlineData(2, 0xF)]
    [InlineData(3, 0xE)] // in order only
    [InlineData(4, 0xF)]
    public void EveryCommandIsCompletedOnce(int seed, int flags)
    {
        var random = new Random(seed);
        // A size that is no power of two and a start that wraps soon, as the kernel's.
        var kernel = new FakeKernel(8192 - 128 + 8 * random.Next(8), 65536, (MailboxFlags)flags, startAt: 8 * random.Next(500));
        var ring = new RingConsumer(kernel.Region);
        var entry = new RingEntry();
        Dictionary<ushort, byte[]> posted = [];
        List<ushort> open = [];
        Dictionary<ushort, byte> answered = [];
        int completed = 0;
        for (int step = 0; step < 20_000; step++)
        {
            switch (random.Next(5))
            {
                case 0 or 1:
                    var cdb = new byte[random.Next(3) switch { 0 => 6, 1 => 10, _ => 16 }];
                    random.NextBytes(cdb);
                    cdb[0] = (byte)((cdb.Length switch { 6 => 0, 10 => 0x20, _ => 0x80 }) | cdb[0] & 0x1F);
                    if (kernel.Post(cdb, [.. Enumerable.Range(0, random.Next(7)).Select(i => (i * 4096, 512))]) is { } id) posted.Add(id, cdb);
                    break;
                case 2:
                    if (random.Next(10) == 0) kernel.PostManagement(1, [.. open.Take(3)]);
                    while (ring.TryRead(entry) is { } kind)
                    {
                        if (kind != RingOpcode.Command) continue;
                        Assert.Equal(posted[entry.Id], entry.Cdb.ToArray());
                        open.Add(entry.Id);
                    }
                    break;
                case 3 when open.Count > 0:
                    int index = random.Next(open.Count);
                    byte status = (byte)random.Next(256);
                    ring.Complete(open[index], status, default);
                    answered.Add(open[index], status);
                    open.RemoveAt(index);
                    break;
                default:
                    ring.Publish();
                    foreach (var done in kernel.Consume())
                    {
                        Assert.True(answered.Remove(done.Id, out byte expected));
                        Assert.Equal(expected, done.Status);
                        Assert.True(posted.Remove(done.Id));
                        completed++;
                    }
                    break;
            }
        }
        Assert.InRange(completed, 2000, 20_000);
    }

    /// <summary>A new consumer goes on at the tail, with what the one before it did not complete.</summary>
    [Fact]
    public void AttachBeginsAtTheTail()
    {
        var kernel = new FakeKernel(4096, 4096);
        var before = new RingConsumer(kernel.Region);
        ushort first = kernel.Post(new byte[6])!.Value, second = kernel.Post([0x12, 0, 0, 0, 36, 0])!.Value;
        ReadAll(before);
        before.Complete(first, 0, default);
        before.Publish();
        Assert.Equal([$"{second} 120000002400 0/0"], ReadAll(new RingConsumer(kernel.Region)));
    }

    [Theory]
    [InlineData(0, 1u, "version 1")]                    // mailbox version
    [InlineData(4, 64u, "the ring is")]                 // ring inside the mailbox
    [InlineData(8, 0x7FFF_FFF8u, "the ring is")]        // longer than the region
    [InlineData(8, 4095u, "the ring is")]
    [InlineData(64, 4096u, "no place")]
    [InlineData(64, 3u, "no place")]
    public void WrongMailboxIsRefused(int at, uint value, string message)
    {
        var kernel = new FakeKernel(4096, 4096);
        kernel.Set(at, value);
        Assert.Contains(message, Assert.Throws<RingException>(() => new RingConsumer(kernel.Region)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(12, 5000u)]          // head outside the ring
    [InlineData(12, 4u)]             // head not aligned
    [InlineData(128, 1u)]            // an entry of no bytes
    [InlineData(128, 4088u | 1)]     // longer than what was published
    [InlineData(128, 120u)]          // a PAD that is none
    [InlineData(136, 1_000_000u)]    // iovecs past the entry
    [InlineData(140, 0xFFFF_FFFFu)]
    [InlineData(152, 0u)]            // CDB before its entry
    [InlineData(152, 128u + 112)]    // CDB with another length than fits, set below
    [InlineData(152, 0x7FFF_FFFFu)]
    [InlineData(176, 0u)]            // data in the mailbox
    [InlineData(176, 0xFFFF_FFF0u)]  // data past the region
    [InlineData(188, 1u)]            // data longer than 4 GiB
    public void BrokenRingIsNoticed(int at, uint value)
    {
        var kernel = new FakeKernel(4096, 4096);
        kernel.Post([0x7F, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0], (0, 512));
        var ring = new RingConsumer(kernel.Region);
        if (at == 152 && value == 240) kernel.Region[240 + 7] = 200;
        else kernel.Set(at, value);
        Assert.Throws<RingException>(() => ring.TryRead(new RingEntry()));
    }
}
