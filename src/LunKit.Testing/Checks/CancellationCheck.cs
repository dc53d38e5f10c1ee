using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>
/// A cancelled operation ends, done or not; afterwards it touches neither the memory nor the medium, and others go on.
/// </summary>
internal static class CancellationCheck
{
    private const int Rounds = 30, Bytes = 256 * 1024;
    private const byte Mark = 0x3C;

    // For what comes late on a busy machine: the memory of every round is watched until the end, that of the first for all of the check.
    private static readonly TimeSpan s_grace = TimeSpan.FromMilliseconds(200);

    public static async Task RunAsync(CheckContext context)
    {
        var given = new List<byte[]>();
        await using (var store = await context.OpenWritableAsync().ConfigureAwait(false))
        {
            var random = new Random(context.Options.Seed);
            for (int round = 0; round < Rounds; round++) await RunAsync(context, store, random, round, given).ConfigureAwait(false);
            await Task.Delay(s_grace, context.Stop).ConfigureAwait(false);
            Check(given);
        }
        Check(given);
    }

    private static void Check(List<byte[]> given)
    {
        for (int round = 0; round < given.Count; round++)
            Contract.Require(!given[round].AsSpan().ContainsAnyExcept(Mark), $"round {round}: memory was written after the operation had ended");
    }

    private static async Task RunAsync(CheckContext context, CheckedStore store, Random random, int round, List<byte[]> given)
    {
        int length = Math.Min(Bytes, context.WorkBytes(store));
        byte[] old = new byte[length], data = new byte[length], read = new byte[length];
        random.NextBytes(old);
        await store.WriteAsync(0, new DataBuffer((byte[])old.Clone()), WriteOptions.None, context.Stop).ConfigureAwait(false);
        random.NextBytes(data);
        using var cancel = new CancellationTokenSource();
        bool isRead = round % 2 == 0;
        var memory = (byte[])data.Clone();
        if (round % 3 == 0) await cancel.CancelAsync().ConfigureAwait(false);
        var running = isRead ? store.ReadAsync(0, new DataBuffer(memory), cancel.Token) : store.WriteAsync(0, new DataBuffer(memory), WriteOptions.None, cancel.Token);
        await cancel.CancelAsync().ConfigureAwait(false);
        try
        {
            await running.ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!context.Stop.IsCancellationRequested)
        {
            // One of the two ends that it may have.
        }
        // It is somebody else's from here on.
        memory.AsSpan().Fill(Mark);
        given.Add(memory);
        await store.ReadAsync(0, new DataBuffer(read), context.Stop).ConfigureAwait(false);
        for (int at = 0; at < length; at += store.Geometry.BlockSize)
        {
            var block = read.AsSpan(at, store.Geometry.BlockSize);
            bool isOld = block.SequenceEqual(old.AsSpan(at, block.Length)), isNew = !isRead && block.SequenceEqual(data.AsSpan(at, block.Length));
            Contract.Require(isOld || isNew, $"round {round}: the block at {at} is neither what it was nor what a cancelled {(isRead ? "read" : "write")} had");
        }
    }
}
