using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>
/// Several nexuses, random commands, a backstore that delays and fails, resets in between: every command completes once, and
/// what the model says was written is there. A failure names its seed.
/// </summary>
public class SimulationTests
{
    private const int Blocks = 4096, PerNexus = Blocks / 4;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task ModelAndDiskAgree(int seed)
    {
        // eng/soak goes on to other seeds.
        if (int.TryParse(Environment.GetEnvironmentVariable("LUNKIT_SEED"), out int round)) seed += round * 4;
        var store = new FaultyBackstore(new MemoryBackstore(Blocks * 512), seed);
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        var workers = new List<Task>();
        for (int n = 0; n < 4; n++)
        {
            var options = target.Options with
            {
                Isid = (ulong)(0x8000_0000_0100 + n), HeaderDigest = n % 2 == 1, DataDigest = n > 1, InitialR2T = n == 3, ImmediateData = n != 2,
            };
            workers.Add(Work(await target.ConnectAsync(options), n * PerNexus, new Random(seed * 31 + n), seed));
        }
        await Task.WhenAll(workers).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(0, target.Unit.Tasks.Count);
    }

    /// <summary>Each nexus has blocks of its own, so that its model is exact; the commands run through the same unit at once.</summary>
    private static async Task Work(IscsiInitiator initiator, int first, Random random, int seed)
    {
        var model = new byte[PerNexus * 512];
        var known = Enumerable.Repeat(true, PerNexus).ToArray();
        for (int step = 0; step < 150; step++)
        {
            int at = random.Next(PerNexus), count = Math.Min(PerNexus - at, random.Next(1, 200));
            switch (random.Next(8))
            {
                case 0:
                    await initiator.ExecuteAsync(0, [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                    break;
                case 1:
                    var same = Retried(() => initiator.ExecuteAsync(0, [0x93, 1, 0, 0, 0, 0, 0, 0, (byte)(first + at >> 8), (byte)(first + at), 0, 0, 0, (byte)Math.Min(count, 255), 0, 0]));
                    if ((await same).Status == ScsiStatus.Good) Set(model, known, at, Math.Min(count, 255), null);
                    else Forget(known, at, Math.Min(count, 255));
                    break;
                case 2:
                case 3:
                    var data = new byte[count * 512];
                    random.NextBytes(data);
                    var written = await Retried(() => initiator.ExecuteAsync(0, Cdbs.Write16(first + at, count), data));
                    if (written.Status == ScsiStatus.Good) Set(model, known, at, count, data);
                    else Forget(known, at, count);
                    break;
                case 4:
                    var expected = model.AsSpan(at * 512, 512).ToArray();
                    var next = new byte[512];
                    random.NextBytes(next);
                    var compare = new byte[16];
                    compare[0] = 0x89;
                    compare[8] = (byte)(first + at >> 8);
                    compare[9] = (byte)(first + at);
                    compare[13] = 1;
                    if (!known[at]) break;
                    var swapped = await Retried(() => initiator.ExecuteAsync(0, compare, [.. expected, .. next]));
                    if (swapped.Status == ScsiStatus.Good) Set(model, known, at, 1, next);
                    else Forget(known, at, 1);
                    Assert.NotEqual(Sense.MiscompareDuringVerify, swapped.SenseCode);
                    break;
                default:
                    var read = await Retried(() => initiator.ExecuteAsync(0, Cdbs.Read16(first + at, count), dataInLength: count * 512));
                    if (read.Status != ScsiStatus.Good) break;
                    for (int b = 0; b < count; b++)
                    {
                        if (!known[at + b]) continue;
                        Assert.True(read.Data.AsSpan(b * 512, 512).SequenceEqual(model.AsSpan((at + b) * 512, 512)), $"seed {seed}, step {step}: block {first + at + b} is wrong");
                    }
                    break;
            }
        }
    }

    private static void Set(byte[] model, bool[] known, int at, int count, byte[]? data)
    {
        if (data is null) model.AsSpan(at * 512, count * 512).Clear();
        else data.CopyTo(model, at * 512);
        known.AsSpan(at, count).Fill(true);
    }

    private static void Forget(bool[] known, int at, int count) => known.AsSpan(at, count).Clear();

    private static async Task<ScsiAnswer> Retried(Func<Task<ScsiAnswer>> command)
    {
        var answer = await command();
        return answer.SenseCode.Key == SenseKey.UnitAttention ? await command() : answer;
    }

    /// <summary>Delays some calls, fails a few, completes the rest at once.</summary>
    private sealed class FaultyBackstore(IBackstore inner, int seed)
        : BackstoreFilter(inner, BackstoreFeatures.Concurrent | BackstoreFeatures.ForceUnitAccess | BackstoreFeatures.Discard)
    {
        private readonly Random _random = new(seed);

        private async ValueTask Disturb(CancellationToken cancellationToken)
        {
            int dice;
            lock (_random) dice = _random.Next(100);
            if (dice < 10) await Task.Delay(dice % 4, cancellationToken);
            else if (dice < 30) await Task.Yield();
            if (dice is 50 or 51) throw new BackstoreException(BackstoreError.MediumWrite, "injected");
        }

        public override async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
        {
            await Disturb(cancellationToken);
            await Inner.ReadAsync(offset, data, cancellationToken);
        }

        public override async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
        {
            await Disturb(cancellationToken);
            await Inner.WriteAsync(offset, data, options, cancellationToken);
        }

        public override async ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
        {
            await Disturb(cancellationToken);
            await Inner.DiscardAsync(offset, length, cancellationToken);
        }

        public override ValueTask FlushAsync(CancellationToken cancellationToken) => Disturb(cancellationToken);
    }
}
