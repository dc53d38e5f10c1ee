using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>
/// Two calls inside the backstore at the same time, on different ranges: what it keeps between the parts of a call must not be shared. Each call
/// is held wherever it touches its memory until the other is there, too, so the result does not depend on who is faster.
/// </summary>
internal static class OverlapCheck
{
    private const int Rounds = 8, Bytes = 64 * 1024, Singles = 128;

    public static async Task RunAsync(CheckContext context)
    {
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        if (!store.Has(BackstoreFeatures.Concurrent)) throw new NotApplicableException("it does not declare Concurrent: its calls never overlap");
        int block = store.Geometry.BlockSize, half = context.WorkBytes(store) / 2 / block * block;
        if (half == 0) throw new NotApplicableException("it has one block");
        var check = new Pairs(context, store, half);
        for (int round = 0; round < Rounds; round++)
        {
            await check.RunAsync(round, writesFirst: true, writesSecond: true).ConfigureAwait(false);
            await check.RunAsync(round, writesFirst: false, writesSecond: false).ConfigureAwait(false);
            await check.RunAsync(round, writesFirst: true, writesSecond: false).ConfigureAwait(false);
        }
        await check.RunSinglesAsync(Math.Min(Singles, half / block)).ConfigureAwait(false);
        context.Note = check.Meeting.Met > 0 ? "" : "no two calls were inside it at once: it keeps them apart itself, or is asynchronous";
    }

    /// <summary>Pairs of calls, the first in one half of the range and the second in the other.</summary>
    private sealed class Pairs(CheckContext context, CheckedStore store, int half)
    {
        private readonly Random _random = new(context.Options.Seed);
        private readonly int _block = store.Geometry.BlockSize;

        public Meeting Meeting { get; } = new();

        public async Task RunAsync(int round, bool writesFirst, bool writesSecond)
        {
            int length = Math.Min(Bytes, half) / _block * _block;
            int at = _random.Next((half - length) / _block + 1) * _block;
            long[] offsets = [at, half + at];
            byte[][] expected = [new byte[length], new byte[length]], data = [new byte[length], new byte[length]];
            bool[] writes = [writesFirst, writesSecond];
            for (int i = 0; i < 2; i++)
            {
                _random.NextBytes(expected[i]);
                var before = writes[i] ? new byte[length] : (byte[])expected[i].Clone();
                await store.WriteAsync(offsets[i], new DataBuffer(before), WriteOptions.None, context.Stop).ConfigureAwait(false);
                if (writes[i]) expected[i].CopyTo(data[i], 0);
            }
            Meeting.Begin();
            await Task.WhenAll(CallAsync(offsets[0], data[0], writes[0]), CallAsync(offsets[1], data[1], writes[1])).ConfigureAwait(false);
            for (int i = 0; i < 2; i++)
            {
                if (writes[i]) await store.ReadAsync(offsets[i], new DataBuffer(data[i]), context.Stop).ConfigureAwait(false);
                Require(data[i], expected[i], $"round {round}: a {Name(writes[i])} of {offsets[i]}+{length} beside a {Name(writes[1 - i])} of {offsets[1 - i]}+{length}");
            }
        }

        private static string Name(bool writes) => writes ? "write" : "read";

        private static void Require(byte[] data, byte[] expected, string what)
        {
            int same = data.AsSpan().CommonPrefixLength(expected);
            Contract.Require(same == data.Length, $"{what} moved wrong bytes from byte {same} on: calls that overlap get in each other's way, though it declares Concurrent");
        }

        private async Task CallAsync(long offset, byte[] data, bool writes)
        {
            try
            {
                var buffer = Cut(data);
                if (writes) await store.WriteAsync(offset, buffer, WriteOptions.None, context.Stop).ConfigureAwait(false);
                else await store.ReadAsync(offset, buffer, context.Stop).ConfigureAwait(false);
            }
            finally
            {
                Meeting.End();
            }
        }

        /// <summary>The bytes in one piece or in three, whose ends are no ends of blocks; what is moved goes back into the array.</summary>
        private DataBuffer Cut(byte[] data)
        {
            var memory = Meeting.MemoryOf(data);
            int first, second;
            lock (_random)
            {
                if (_random.Next(3) == 0) return new DataBuffer(memory);
                first = 1 + _random.Next(data.Length / 2 - 1);
                second = first + 1 + _random.Next(data.Length / 2 - 1);
            }
            return new DataBuffer([memory[..first], memory[first..second], memory[second..]], 3);
        }

        /// <summary>Block after block in both halves: tables that grow with them are changed by both at once.</summary>
        public async Task RunSinglesAsync(int blocks)
        {
            byte[][] all = [new byte[blocks * _block], new byte[blocks * _block]];
            foreach (byte[] bytes in all) _random.NextBytes(bytes);
            for (int i = 0; i < blocks; i++)
            {
                int at = i * _block;
                Meeting.Begin();
                await Task.WhenAll(CallAsync(at, all[0][at..(at + _block)], writes: true), CallAsync(half + at, all[1][at..(at + _block)], writes: true)).ConfigureAwait(false);
            }
            for (int i = 0; i < 2; i++)
            {
                var read = new byte[blocks * _block];
                await store.ReadAsync(i * half, new DataBuffer(read), context.Stop).ConfigureAwait(false);
                Require(read, all[i], $"one of {2 * blocks} writes of single blocks, two at a time, in {i * half}+{read.Length},");
            }
        }
    }
}
