using LunKit.Backstores;

namespace LunKit.Tests.Backstores;

/// <summary>Workers where threads run short: nothing is lost, nothing is done late, no thread dies of it.</summary>
public sealed class FileWorkersTests
{
    // What the runtime throws when the kernel has no thread left for it.
    private static readonly Exception s_shortage = Activator.CreateInstance<OutOfMemoryException>();
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    /// <summary>Starts threads while it has some.</summary>
    private sealed class Threads(int left)
    {
        private int _left = left, _refused;

        public int Refused => Volatile.Read(ref _refused);

        public void Give(int more) => Interlocked.Add(ref _left, more);

        public void Start(Action run)
        {
            if (Interlocked.Decrement(ref _left) >= 0)
            {
                new Thread(() => run()) { IsBackground = true }.Start();
                return;
            }
            Interlocked.Increment(ref _left);
            Interlocked.Increment(ref _refused);
            throw s_shortage;
        }
    }

    private static async Task<BackstoreError> ErrorOfAsync(ValueTask<int> task) => (await Assert.ThrowsAsync<BackstoreException>(() => task.AsTask().WaitAsync(s_limit))).Error;

    [Fact]
    public async Task WithoutAnyThreadTheOperationIsRefusedAndNeverDone()
    {
        var threads = new Threads(0);
        var workers = new FileWorkers(start: threads.Start);
        int done = 0;
        Assert.Equal(BackstoreError.Busy, await ErrorOfAsync(workers.RunAsync(_ => Interlocked.Increment(ref done), 0)));
        Assert.Equal(BackstoreError.Busy, await ErrorOfAsync(workers.RunAsync(_ => Interlocked.Increment(ref done), 0)));
        Assert.False(workers.TryStart(_ => Interlocked.Increment(ref done), 0));
        // The memory of those is another command's by now: a thread that comes later must not find them.
        threads.Give(1);
        await workers.RunAsync(_ => Interlocked.Add(ref done, 10), 0).AsTask().WaitAsync(s_limit, TestContext.Current.CancellationToken);
        Assert.Equal(10, Volatile.Read(ref done));
    }

    [Fact]
    public async Task WhatMustBeDoneIsDoneWithoutAThread()
    {
        int done = 0;
        await new FileWorkers(start: new Threads(0).Start).RunAnyhowAsync(_ => done++, 0);
        Assert.Equal(1, done);
    }

    [Fact]
    public async Task WhatIsQueuedWaitsForAThreadThatLives()
    {
        var threads = new Threads(1);
        var workers = new FileWorkers(start: threads.Start);
        using var stuck = new ManualResetEventSlim();
        var first = workers.RunAsync(static s => s.Wait(), stuck).AsTask();
        var others = Enumerable.Range(0, 5).Select(i => workers.RunAsync(static n => n * n, i).AsTask()).ToList();
        // On a thread of the workers too, which looks for help when it takes the next.
        Assert.All(others, o => Assert.False(o.IsCompleted));
        stuck.Set();
        await first.WaitAsync(s_limit, TestContext.Current.CancellationToken);
        int[] squares = await Task.WhenAll(others).WaitAsync(s_limit, TestContext.Current.CancellationToken);
        Assert.Equal([0, 1, 4, 9, 16], squares);
        Assert.True(threads.Refused >= 5);
    }

    /// <summary>A thread that could not be started does not count among those that may be.</summary>
    [Fact]
    public async Task TheLimitIsOfThreadsThatLive()
    {
        const int most = 4;
        var threads = new Threads(1);
        var workers = new FileWorkers(most, threads.Start);
        using var stuck = new ManualResetEventSlim();
        using var inside = new SemaphoreSlim(0);
        var all = Enumerable.Range(0, 10).Select(_ => workers.RunAsync(s =>
        {
            inside.Release();
            s.Wait();
        }, stuck).AsTask()).ToList();
        threads.Give(100);
        all.Add(workers.RunAsync(static _ => { }, 0).AsTask());
        all.Add(workers.RunAsync(static _ => { }, 0).AsTask());
        all.Add(workers.RunAsync(static _ => { }, 0).AsTask());
        for (int i = 0; i < most; i++) Assert.True(await inside.WaitAsync(s_limit, TestContext.Current.CancellationToken), $"only {i} at once");
        Assert.Equal(0, inside.CurrentCount);
        stuck.Set();
        await Task.WhenAll(all).WaitAsync(s_limit, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task TheQueueHasAnEnd()
    {
        var workers = new FileWorkers(maxThreads: 1);
        using var stuck = new ManualResetEventSlim();
        using var inside = new ManualResetEventSlim();
        int done = 0;
        var first = workers.RunAsync(s =>
        {
            inside.Set();
            s.Wait();
        }, stuck).AsTask();
        Assert.True(inside.Wait(s_limit, TestContext.Current.CancellationToken));
        var queued = Enumerable.Range(0, FileWorkers.MaxQueued).Select(_ => workers.RunAsync(_ => Interlocked.Increment(ref done), 0).AsTask()).ToList();
        Assert.Equal(BackstoreError.Busy, await ErrorOfAsync(workers.RunAsync(_ => Interlocked.Increment(ref done), 0)));
        stuck.Set();
        await Task.WhenAll(queued.Append(first)).WaitAsync(s_limit, TestContext.Current.CancellationToken);
        Assert.Equal(FileWorkers.MaxQueued, done);
    }

    [Fact]
    public async Task AStuckOperationDoesNotHoldTheNext()
    {
        var workers = new FileWorkers();
        for (int round = 0; round < 50; round++)
        {
            using var stuck = new ManualResetEventSlim();
            var first = workers.RunAsync(static s => s.Wait(), stuck).AsTask();
            await workers.RunAsync(static _ => { }, 0).AsTask().WaitAsync(s_limit, TestContext.Current.CancellationToken);
            stuck.Set();
            await first;
        }
    }

    [Fact]
    public async Task ManyAtOnceAreAllDone()
    {
        var workers = new FileWorkers(maxThreads: 3, new Threads(2).Start);
        const int Each = 500; // every one waits for another thread, which a busy machine lets run late
        long sum = 0;
        var callers = Enumerable.Range(0, 4).Select(c => new Thread(() =>
        {
            for (int i = 0; i < Each; i++) workers.RunAsync(n => Interlocked.Add(ref sum, n), i).AsTask().GetAwaiter().GetResult();
        })).ToList();
        foreach (var caller in callers) caller.Start();
        foreach (var caller in callers) Assert.True(caller.Join(s_limit));
        Assert.Equal(4L * Each * (Each - 1) / 2, sum);
        await Task.CompletedTask;
    }

    /// <summary>Connecting again does not end with a thread that could not be started: the next command tries it.</summary>
    [Fact]
    public async Task ConnectingGoesOnWhenThereIsAThreadAgain()
    {
        var threads = new Threads(0);
        var reasons = new List<string>();
        int connects = 0;
        using var reconnection = new Reconnection(() => Interlocked.Increment(ref connects), reasons.Add, threads.Start);
        reconnection.Begin("gone");
        Assert.Contains("no thread can be started", reconnection.Unavailable, StringComparison.Ordinal);
        reconnection.Ensure();
        Assert.Equal(0, connects);
        threads.Give(1);
        reconnection.Ensure();
        await UntilAsync(() => reconnection.Unavailable is null);
        Assert.Equal(1, connects);
        Assert.Equal("gone", reasons[0]);
    }

    /// <summary>A connection that is lost again while the attempt that made it still ends is made anew.</summary>
    [Fact]
    public async Task ALossDuringAnAttemptIsNotForgotten()
    {
        Reconnection? reconnection = null;
        int connects = 0;
        reconnection = new Reconnection(() =>
        {
            if (Interlocked.Increment(ref connects) == 1) reconnection!.Begin("lost again");
        }, _ => { });
        reconnection.Begin("lost");
        await UntilAsync(() => reconnection.Unavailable is null);
        Assert.Equal(2, connects);
        reconnection.Dispose();
    }

    private static async Task UntilAsync(Func<bool> holds)
    {
        for (int i = 0; i < 3000 && !holds(); i++) await Task.Delay(10, TestContext.Current.CancellationToken);
        Assert.True(holds());
    }
}
