using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>
/// A cancelled operation ends, done or not; afterwards it touches neither the memory nor the medium, and others go on.
/// </summary>
internal static class CancellationCheck
{
    private const int Rounds = 30, Bytes = 256 * 1024;

    public static async Task RunAsync(CheckContext context)
    {
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        int length = Math.Min(Bytes, context.WorkBytes(store));
        var random = new Random(context.Options.Seed);
        byte[] old = new byte[length], data = new byte[length], read = new byte[length];
        for (int round = 0; round < Rounds; round++)
        {
            random.NextBytes(old);
            await store.WriteAsync(0, new DataBuffer((byte[])old.Clone()), WriteOptions.None, context.Stop).ConfigureAwait(false);
            random.NextBytes(data);
            using var cancel = new CancellationTokenSource();
            bool isRead = round % 2 == 0;
            var memory = (byte[])data.Clone();
            if (round % 3 == 0) await cancel.CancelAsync().ConfigureAwait(false);
            var running = isRead ? store.ReadAsync(0, new DataBuffer(memory), cancel.Token).AsTask() : store.WriteAsync(0, new DataBuffer(memory), WriteOptions.None, cancel.Token).AsTask();
            await cancel.CancelAsync().ConfigureAwait(false);
            try
            {
                await running.WaitAsync(TimeSpan.FromSeconds(60), context.Stop).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!context.Stop.IsCancellationRequested)
            {
            }
            // It is somebody else's from here on.
            memory.AsSpan().Fill(0x3C);
            await Task.Delay(2, context.Stop).ConfigureAwait(false);
            Contract.Require(!memory.AsSpan().ContainsAnyExcept((byte)0x3C), $"round {round}: memory was written after the operation had ended");
            await store.ReadAsync(0, new DataBuffer(read), context.Stop).ConfigureAwait(false);
            for (int at = 0; at < length; at += store.Geometry.BlockSize)
            {
                var block = read.AsSpan(at, store.Geometry.BlockSize);
                bool isOld = block.SequenceEqual(old.AsSpan(at, block.Length)), isNew = !isRead && block.SequenceEqual(data.AsSpan(at, block.Length));
                Contract.Require(isOld || isNew, $"round {round}: the block at {at} is neither what it was nor what a cancelled {(isRead ? "read" : "write")} had");
            }
        }
    }
}
