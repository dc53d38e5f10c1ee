using System.Diagnostics;
using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>
/// What is behind the backstore fails under load, and is mended. Meanwhile every operation ends in time, done or with an
/// <see cref="IOException"/>; afterwards reads and writes succeed again. An acknowledged write is lost only with a volatile cache, and then every
/// flush from there on fails.
/// </summary>
internal sealed class FailureCheck
{
    private const int OperationsEach = 3;

    private readonly CheckContext _context;
    private readonly CheckedStore _store;
    private readonly TimeSpan _limit;
    private readonly Worker[] _workers;
    private volatile bool _done;
    private volatile string? _lost;

    private FailureCheck(CheckContext context, CheckedStore store)
    {
        (_context, _store, _limit) = (context, store, context.Options.FailureLimit);
        int block = store.Geometry.BlockSize, share = context.WorkBytes(store) / context.Options.Concurrency / block;
        if (share < 1) throw new NotApplicableException($"{context.WorkBytes(store)} bytes are too few for {context.Options.Concurrency} at once");
        _workers = [.. Enumerable.Range(0, context.Options.Concurrency).Select(i => new Worker(this, (long)i * share * block, new UncertainBlocks(share, block), context.Options.Seed + i))];
    }

    public static async Task RunAsync(CheckContext context)
    {
        if (context.Options.Break is not { } fail) throw new NotApplicableException("the options do not say how to break it");
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        var check = new FailureCheck(context, store);
        bool broken = false;
        store.Limit = context.Options.FailureLimit;
        try
        {
            foreach (var worker in check._workers) await worker.PrepareAsync().ConfigureAwait(false);
            var running = check._workers.Select(w => w.RunAsync()).ToArray();
            try
            {
                await check.UntilEachAsync(running, w => w.Ended, "before it is broken").ConfigureAwait(false);
                broken = true;
                await fail(true).ConfigureAwait(false);
                await check.UntilEachAsync(running, w => w.Ended, "while it is broken").ConfigureAwait(false);
                await fail(false).ConfigureAwait(false);
                broken = false;
                // Flushes may fail from now on: after one that failed, success would prove nothing.
                await check.UntilEachAsync(running, w => w.Written, "after it is mended").ConfigureAwait(false);
            }
            finally
            {
                check._done = true;
                await Task.WhenAll(running).ConfigureAwait(false);
            }
        }
        finally
        {
            if (broken) await fail(false).ConfigureAwait(false);
        }
        context.Note = $"{check._workers.Sum(w => w.Failed)} of {check._workers.Sum(w => w.Ended)} operations failed";
        bool flushed = await check._workers[0].FlushAsync().ConfigureAwait(false);
        foreach (var worker in check._workers) await worker.CheckAllAsync(flushed).ConfigureAwait(false);
    }

    /// <summary>Waits until each worker has counted some more.</summary>
    private async Task UntilEachAsync(Task[] running, Func<Worker, int> count, string when)
    {
        var goals = _workers.Select(w => count(w) + OperationsEach).ToArray();
        // Each of the operations may take its time.
        var limit = _limit * (OperationsEach + 1);
        for (long began = Stopwatch.GetTimestamp(); !_workers.Zip(goals).All(p => count(p.First) >= p.Second);)
        {
            if (running.FirstOrDefault(r => r.IsFaulted) is { } faulted) await faulted.ConfigureAwait(false);
            Contract.Require(Stopwatch.GetElapsedTime(began) < limit, $"{when} a reader or writer gets nothing done within {limit.TotalSeconds} s: {_workers.Select(w => w.LastFailure).FirstOrDefault(f => f is not null)?.Message ?? "nothing fails"}");
            await Task.Delay(10, _context.Stop).ConfigureAwait(false);
        }
    }

    /// <summary>One operation after the other in blocks of its own.</summary>
    private sealed class Worker(FailureCheck check, long start, UncertainBlocks blocks, int seed)
    {
        private readonly Random _random = new(seed);
        private readonly CheckedStore _store = check._store;
        private readonly int _blockSize = check._store.Geometry.BlockSize;
        private uint _version;
        private int _ended, _written;

        /// <summary>Operations that have ended.</summary>
        public int Ended => Volatile.Read(ref _ended);

        /// <summary>Writes that were done.</summary>
        public int Written => Volatile.Read(ref _written);

        /// <summary>Operations that failed.</summary>
        public int Failed { get; private set; }

        public IOException? LastFailure { get; private set; }

        private long At(int block) => start + (long)block * _blockSize;

        public async Task PrepareAsync()
        {
            await _store.WriteZeroesAsync(start, (long)blocks.Count * _blockSize, WriteOptions.None, check._context.Stop).ConfigureAwait(false);
            await _store.FlushAsync(check._context.Stop).ConfigureAwait(false);
        }

        public async Task RunAsync()
        {
            while (!check._done)
            {
                // A backstore that never waits leaves the others their turn.
                await Task.Yield();
                int block = _random.Next(blocks.Count), count = Math.Min(blocks.Count - block, 1 + _random.Next(Math.Max(1, 16384 / _blockSize)));
                int kind = _random.Next(10);
                var fua = _random.Next(8) == 0 ? WriteOptions.ForceUnitAccess : WriteOptions.None;
                if (kind < 3) await ReadAsync(block, count).ConfigureAwait(false);
                else if (kind < 7) await ChangeAsync(block, count, ++_version, fua, (s, v) => s.WriteAsync(At(block), new DataBuffer(blocks.Data(block, count, v)), fua, check._context.Stop)).ConfigureAwait(false);
                else if (kind == 7) await ChangeAsync(block, count, 0, WriteOptions.None, (s, _) => s.DiscardAsync(At(block), (long)count * _blockSize, check._context.Stop)).ConfigureAwait(false);
                else if (kind == 8) await ChangeAsync(block, count, 0, fua, (s, _) => s.WriteZeroesAsync(At(block), (long)count * _blockSize, fua, check._context.Stop)).ConfigureAwait(false);
                else await FlushAsync().ConfigureAwait(false);
                // What fails at once does not fail a million times.
                if (LastFailure is not null) await Task.Delay(1, check._context.Stop).ConfigureAwait(false);
                Interlocked.Increment(ref _ended);
            }
        }

        private async Task ReadAsync(int block, int count)
        {
            var data = new byte[count * _blockSize];
            if (await TryAsync(() => _store.ReadAsync(At(block), new DataBuffer(data), check._context.Stop)).ConfigureAwait(false)) Check(data, block);
        }

        private void Check(byte[] data, int block)
        {
            if (blocks.Check(data, block, At(block))) return;
            string what = $"an acknowledged write in {At(block)}+{data.Length} is lost";
            Contract.Require(_store.Has(BackstoreFeatures.VolatileCache), $"{what}, without a volatile cache");
            check._lost ??= what;
        }

        public async Task<bool> FlushAsync()
        {
            string? lost = check._lost;
            bool flushed = await TryAsync(() => _store.FlushAsync(check._context.Stop)).ConfigureAwait(false);
            Contract.Require(lost is null || !flushed, $"a flush succeeds though {lost}");
            if (flushed) blocks.Flushed();
            else blocks.FlushFailed();
            return flushed;
        }

        private async Task ChangeAsync(int block, int count, uint version, WriteOptions options, Func<CheckedStore, uint, Task> change)
        {
            if (await TryAsync(() => change(_store, version)).ConfigureAwait(false))
            {
                blocks.Written(block, count, version, options == WriteOptions.ForceUnitAccess);
                if (version != 0) Interlocked.Increment(ref _written);
            }
            else
            {
                blocks.MayBeWritten(block, count, version);
            }
        }

        /// <summary>Whether it was done; when not it has failed as the contract says.</summary>
        private async Task<bool> TryAsync(Func<Task> operation)
        {
            try
            {
                await operation().ConfigureAwait(false);
                return true;
            }
            catch (IOException e)
            {
                LastFailure = e;
                Failed++;
                return false;
            }
            catch (Exception e) when (e is not ContractException && !check._context.Stop.IsCancellationRequested)
            {
                throw new ContractException($"a failure is no IOException: {e}");
            }
        }

        public async Task CheckAllAsync(bool flushed)
        {
            if (flushed) blocks.Flushed();
            for (int block = 0; block < blocks.Count; block += 64)
            {
                var data = new byte[Math.Min(64, blocks.Count - block) * _blockSize];
                await _store.ReadAsync(At(block), new DataBuffer(data), check._context.Stop).ConfigureAwait(false);
                Check(data, block);
            }
        }
    }
}
