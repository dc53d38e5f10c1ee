using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Target;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>Why a handler fails is to be seen: at the target, and in the handler also where nobody has given it a log.</summary>
[Collection(ConsoleTests.Name)]
public sealed class HandlerErrorTests
{
    /// <summary>Takes what goes to the standard error while it is there; the lines of tests beside it are among that.</summary>
    private sealed class ErrorText : IDisposable
    {
        private readonly TextWriter _before = Console.Error;
        private readonly StringWriter _text = new();

        public ErrorText() => Console.SetError(TextWriter.Synchronized(_text));

        public override string ToString()
        {
            lock (Console.Error) return _text.ToString();
        }

        public void Dispose() => Console.SetError(_before);
    }

    [Fact]
    public async Task TheTargetHearsWhyADeviceCannotBeOpened()
    {
        await using var bench = new UserBench();
        using var text = new ErrorText();
        await using var handler = TcmuHandler.Connect(bench.Path, new Dictionary<string, TcmuHandlerFactory>
        {
            ["test"] = (_, _) => throw new InvalidOperationException("the key of 4711 is missing"),
        });
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].LastReason is not null, "refusing");
        Assert.Equal("InvalidOperationException: the key of 4711 is missing", bench.Listener.Devices[0].LastReason);
        Assert.Equal(Errno.EIO, bench.Listener.Devices[0].LastError);
        await UserBench.UntilAsync(() => text.ToString().Contains("the key of 4711 is missing", StringComparison.Ordinal), "a line on the standard error");
        // It has let go: the device is offered again.
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].ProcessId == 0, "letting go");
    }

    // A target says what is opened, with the rights of the handler: anybody can listen at a name that is free.
    [Fact]
    public async Task ATargetOfAnotherUserIsNotBelieved()
    {
        await using var bench = new UserBench();
        var log = new ListLog();
        bool isOpened = false;
        var subtypes = new Dictionary<string, TcmuUnitFactory>
        {
            ["test"] = (_, _) =>
            {
                isOpened = true;
                throw new InvalidOperationException("opened");
            },
        };
        await using (TcmuHandler.ConnectTo(bench.Path, subtypes, log, new HashSet<uint> { uint.MaxValue - 1 }))
            await UserBench.UntilAsync(() => log.Lines.Any(l => l.Contains("which is not trusted", StringComparison.Ordinal)), "a warning");
        Assert.False(isOpened);
        Assert.Null(bench.Listener.Devices[0].LastReason);
    }

    [Fact]
    public async Task ABackstoreThatThrowsIsSeen()
    {
        await using var bench = new UserBench();
        using var text = new ErrorText();
        await using var handler = bench.Handle(new ThrowingStore());
        Assert.Equal(Sense.InternalTargetFailure, (await bench.SendAsync(UserBench.Read(0, 1), dataIn: 512)).Result.Sense);
        await UserBench.UntilAsync(() => text.ToString().Contains("gear 4712 is broken", StringComparison.Ordinal), "a line on the standard error");
    }

    [Fact]
    public async Task WhatAHandlerSaysIsOneLineOfTheLog()
    {
        await using var bench = new UserBench();
        using var handler = new ScriptedHandler(bench.Path).Open(serves: false);
        handler.Channel.Send(UserMessages.Done(1, handler.Added, new DeviceReply(Errno.ENOSPC) { Reason = "full\nInformation: all is well\u001b[2J" + new string('x', 1000) }));
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].LastReason is not null, "refusing");
        string reason = bench.Listener.Devices[0].LastReason!;
        Assert.StartsWith("full Information: all is well [2Jxxx", reason, StringComparison.Ordinal);
        Assert.InRange(reason.Length, 50, 400);
        Assert.Equal(Errno.ENOSPC, bench.Listener.Devices[0].LastError);
    }

    [Fact]
    public void OnlyWarningsAndWorseGoToTheStandardError()
    {
        using var text = new ErrorText();
        var log = StandardErrorLog.Instance;
        LunKit.Tcmu.LogMessages.HandlerGone(log, "device 4713");
        LunKit.Tcmu.LogMessages.Closed(log, "device 4714");
        log.Flush();
        Assert.Contains("LunKit: device 4713 has no handler any more", text.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("4714", text.ToString(), StringComparison.Ordinal);
    }

    /// <summary>A backstore that hangs keeps its device open, and its place at the target, but not its handler's end.</summary>
    [Fact]
    public async Task AHandlerEndsBesideABackstoreThatHangs()
    {
        await using var bench = new UserBench();
        var log = new ListLog();
        var store = new HangingStore();
        var handler = TcmuHandler.Connect(bench.Path, new Dictionary<string, TcmuHandlerFactory> { ["test"] = (_, _) => ValueTask.FromResult<IBackstore>(store) }, log);
        handler.CloseLimit = TimeSpan.FromMilliseconds(200);
        var write = bench.SendAsync(UserBench.Write(0, 1), UserBench.Pattern(1, 1));
        await store.Entered.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        await handler.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        Assert.Contains(log.Lines, l => l.Contains("is not closed", StringComparison.Ordinal) && l.Contains("command 2Ah", StringComparison.Ordinal));
        Assert.False(store.IsDisposed);
        Assert.NotEqual(0, bench.Listener.Devices[0].ProcessId);
        store.Go.SetResult();
        Assert.Equal(ScsiStatus.Good, (await write).Result.Status);
        await UserBench.UntilAsync(() => store.IsDisposed && bench.Listener.Devices[0].ProcessId == 0, "the end of the device");
    }

    /// <summary>The completion is out of the ring when the memory for its data is asked for: the command ends, and so does what waits for it.</summary>
    [Fact]
    public async Task NoMemoryForAResultEndsTheCommand()
    {
        await using var bench = new UserBench();
        await using var handler = bench.Handle(new MemoryBackstore(1 << 20));
        var (result, _) = await bench.SendAsync(UserBench.Read(0, 1), dataIn: 512, command: new CommandWithoutMemory()).WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        Assert.Equal(Sense.OutcomeUnknown, result.Sense);
        Assert.Equal(0, bench.Unit.Tasks.Count);
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Read(0, 1), dataIn: 512)).Result.Status);
    }

    private sealed class CommandWithoutMemory : TestCommand
    {
        public override DataBuffer RentDataIn(int length) => throw new InsufficientMemoryException("none is left");
    }

    private class ThrowingStore : IBackstore
    {
        public BackstoreGeometry Geometry { get; } = new(1 << 20);
        public virtual ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => throw new InvalidOperationException("gear 4712 is broken");
        public virtual ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => ValueTask.CompletedTask;
        public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
        public virtual ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class HangingStore : ThrowingStore
    {
        public TaskCompletionSource Entered { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public TaskCompletionSource Go { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public bool IsDisposed { get; private set; }

        public override async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
        {
            Entered.TrySetResult();
            await Go.Task;
        }

        public override ValueTask DisposeAsync()
        {
            IsDisposed = true;
            return base.DisposeAsync();
        }
    }

    /// <summary>A device that no handler takes is named in the log: once while it waits, and once more when its handler has left for good.</summary>
    [Fact]
    public async Task ADeviceThatNobodyHandlesIsNamed()
    {
        var log = new ListLog();
        string path = $"@lunkit-test-{Environment.ProcessId}-nobody";
        using var listener = new HandlerListener(path, log) { Patience = TimeSpan.FromMilliseconds(300) };
        await using var unit = listener.Add(new UserDeviceOptions { Config = "rare/x", Name = "x", SizeBytes = 1 << 20, Identity = new UnitIdentity { Name = "x", Id = UnitIdentity.IdOf("x") } });
        int Named() => log.Lines.Count(l => l.StartsWith("tcm-user/0/x/rare/x waits for a handler", StringComparison.Ordinal));
        await UserBench.UntilAsync(() => Named() == 1, "said");
        await using (TcmuHandler.Connect(path, new Dictionary<string, TcmuHandlerFactory> { ["rare"] = (_, _) => ValueTask.FromResult<IBackstore>(new MemoryBackstore(1 << 20)) }))
            await UserBench.UntilAsync(() => listener.Devices[0].IsServed, "serving");
        await UserBench.UntilAsync(() => Named() == 2, "said again");
    }

    /// <summary>When the target stops its handlers leave, which is no news.</summary>
    [Fact]
    public async Task HandlersThatLeaveAStoppingTargetAreNoNews()
    {
        var log = new ListLog();
        string path = $"@lunkit-test-{Environment.ProcessId}-stopping";
        using var listener = new HandlerListener(path, log);
        await using var unit = listener.Add(new UserDeviceOptions { Config = "rare/x", Name = "x", SizeBytes = 1 << 20, Identity = new UnitIdentity { Name = "x", Id = UnitIdentity.IdOf("x") } });
        await using (TcmuHandler.Connect(path, new Dictionary<string, TcmuHandlerFactory> { ["rare"] = (_, _) => ValueTask.FromResult<IBackstore>(new MemoryBackstore(1 << 20)) }))
        {
            await UserBench.UntilAsync(() => listener.Devices[0].IsServed, "serving");
            listener.IsStopping = true;
        }
        await UserBench.UntilAsync(() => listener.Devices[0].ProcessId == 0, "gone");
        Assert.DoesNotContain(log.Lines, l => l.Contains("no handler any more", StringComparison.Ordinal));
    }
}
