using LunKit.Backstores;
using Xunit;

namespace LunKit.Tests.Backstores;

public sealed class GroupedFlushTests
{
    /// <summary>What is flushed: each flush ends when the test says so.</summary>
    private sealed class Storage
    {
        private readonly List<TaskCompletionSource> _flushes = [];

        public GroupedFlush Flushes { get; }

        public Storage(Func<IOException, bool>? loses = null) => Flushes = new("storage", () =>
        {
            lock (_flushes)
            {
                Assert.All(_flushes, f => Assert.True(f.Task.IsCompleted, "two flushes at once"));
                _flushes.Add(new TaskCompletionSource());
                return new(_flushes[^1].Task);
            }
        }, loses);

        /// <summary>The flush with a number, once it has begun.</summary>
        public async Task<TaskCompletionSource> BegunAsync(int number)
        {
            while (true)
            {
                lock (_flushes)
                    if (_flushes.Count > number) return _flushes[number];
                await Task.Delay(1, TestContext.Current.CancellationToken);
            }
        }

        public int Count
        {
            get
            {
                lock (_flushes) return _flushes.Count;
            }
        }
    }

    private static Task Ask(Storage storage, CancellationToken cancellationToken = default) => storage.Flushes.RunAsync(cancellationToken).AsTask();

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task WhoComesWhileOneRunsSharesTheNext()
    {
        var storage = new Storage();
        var first = Ask(storage);
        Task[] others = [Ask(storage), Ask(storage), Ask(storage)];
        (await storage.BegunAsync(0)).SetResult();
        await first.WaitAsync(s_limit, TestContext.Current.CancellationToken);
        var second = await storage.BegunAsync(1);
        Assert.All(others, o => Assert.False(o.IsCompleted));
        // Too late for the one that runs: what it wrote may not be in it.
        var last = Ask(storage);
        second.SetResult();
        await Task.WhenAll(others).WaitAsync(s_limit, TestContext.Current.CancellationToken);
        Assert.False(last.IsCompleted);
        (await storage.BegunAsync(2)).SetResult();
        await last.WaitAsync(s_limit, TestContext.Current.CancellationToken);
        Assert.Equal(3, storage.Count);
    }

    [Fact]
    public async Task AFailureIsToldToAllThatShareItAndToAllLater()
    {
        var storage = new Storage();
        var first = Ask(storage);
        Task[] others = [Ask(storage), Ask(storage)];
        (await storage.BegunAsync(0)).SetResult();
        await first;
        (await storage.BegunAsync(1)).SetException(new IOException("gone"));
        foreach (var other in others) Assert.Equal("gone", (await Assert.ThrowsAsync<IOException>(() => other)).Message);
        Assert.Contains("storage: an earlier flush failed: gone", (await Assert.ThrowsAsync<BackstoreException>(() => Ask(storage))).Message, StringComparison.Ordinal);
        Assert.Equal(2, storage.Count);
    }

    [Fact]
    public async Task WhoWaitsBehindOneThatFailsFailsToo()
    {
        var storage = new Storage();
        var first = Ask(storage);
        var second = Ask(storage);
        (await storage.BegunAsync(0)).SetException(new IOException("gone"));
        await Assert.ThrowsAsync<IOException>(() => first);
        await Assert.ThrowsAsync<BackstoreException>(() => second);
        Assert.Equal(1, storage.Count);
    }

    [Fact]
    public async Task WhatLosesNothingMaySucceedAgain()
    {
        var storage = new Storage(e => e.Message != "away");
        var first = Ask(storage);
        (await storage.BegunAsync(0)).SetException(new IOException("away"));
        await Assert.ThrowsAsync<IOException>(() => first);
        var second = Ask(storage);
        (await storage.BegunAsync(1)).SetResult();
        await second;
        storage.Flushes.Fail(new IOException("lost"));
        await Assert.ThrowsAsync<BackstoreException>(() => Ask(storage));
    }

    /// <summary>A flush that was refused before it began has lost nothing: no thread was free, or there is no connection yet.</summary>
    [Theory]
    [InlineData(BackstoreError.Busy)]
    [InlineData(BackstoreError.Connecting)]
    public async Task ARefusedFlushIsNoLoss(BackstoreError error)
    {
        var storage = new Storage();
        var first = Ask(storage);
        (await storage.BegunAsync(0)).SetException(new BackstoreException(error, "not now"));
        Assert.Equal(error, (await Assert.ThrowsAsync<BackstoreException>(() => first)).Error);
        var second = Ask(storage);
        (await storage.BegunAsync(1)).SetResult();
        await second.WaitAsync(s_limit, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task WhoCancelsLeavesAndTheFlushGoesOn()
    {
        var storage = new Storage();
        using var cancel = new CancellationTokenSource();
        var first = Ask(storage, cancel.Token);
        Task[] others = [Ask(storage, cancel.Token), Ask(storage)];
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => others[0]);
        // What is flushed is not closed under what was left behind.
        var disposal = storage.Flushes.DisposeAsync().AsTask();
        (await storage.BegunAsync(0)).SetResult();
        var second = await storage.BegunAsync(1);
        Assert.False(disposal.IsCompleted);
        second.SetResult();
        await Task.WhenAll(others[1], disposal).WaitAsync(s_limit, TestContext.Current.CancellationToken);
    }

    /// <summary>Many at once: each sees everything that it wrote before flushed, and no two flushes overlap.</summary>
    [Fact]
    public async Task CoversWhatWasWrittenBefore()
    {
        int written = 0, flushed = 0, inside = 0;
        var flushes = new GroupedFlush("storage", async () =>
        {
            Assert.Equal(1, Interlocked.Increment(ref inside));
            int now = Volatile.Read(ref written);
            await Task.Yield();
            Volatile.Write(ref flushed, now);
            Interlocked.Decrement(ref inside);
        });
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(async () =>
        {
            for (int i = 0; i < 2000; i++)
            {
                int mine = Interlocked.Increment(ref written);
                await flushes.RunAsync();
                Assert.True(Volatile.Read(ref flushed) >= mine);
            }
        }))).WaitAsync(s_limit, TestContext.Current.CancellationToken);
    }
}
