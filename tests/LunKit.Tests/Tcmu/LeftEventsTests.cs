using LunKit.Linux;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Kernel;
using LunKit.Tests.Tcmu.Target;

namespace LunKit.Tests.Tcmu;

/// <summary>What other handlers do not answer is answered here, once, and what they have answered is not.</summary>
public sealed class LeftEventsTests
{
    private readonly SteppedClock _clock = new();

    private static TcmuEvent Event(TcmuEventKind kind, string name = "disk") => new(kind, $"tcm-user/0/{name}/test/x", 0, 1);

    private async Task<IReadOnlyList<TcmuEvent>> TakeAsync(LeftEvents left, int count)
    {
        List<TcmuEvent> taken = [];
        await UserBench.UntilAsync(() =>
        {
            taken.AddRange(left.Take().Select(l => l.Event));
            return taken.Count >= count;
        }, "taking");
        return taken;
    }

    [Fact]
    public async Task OthersHaveTheirTimeFirst()
    {
        var left = new LeftEvents(_ => false, () => _clock.Now);
        left.Add(Event(TcmuEventKind.Removed));
        left.Add(Event(TcmuEventKind.Added));
        Assert.Empty(left.Take());
        _clock.Pass(TimeSpan.FromSeconds(4));
        Assert.Empty(left.Take());
        _clock.Pass(TimeSpan.FromSeconds(1));
        Assert.Equal([TcmuEventKind.Removed, TcmuEventKind.Added], (await TakeAsync(left, 2)).Select(e => e.Kind));
        Assert.Empty(left.Take());
    }

    /// <summary>An answer to what is answered already ends another wait of that device in the kernel, for ever.</summary>
    [Fact]
    public async Task WhatIsAnsweredIsNotAnsweredAgain()
    {
        var left = new LeftEvents(e => e.DeviceName.Contains("gone", StringComparison.Ordinal) ? throw new DirectoryNotFoundException() : e.DeviceName.Contains("served", StringComparison.Ordinal), () => _clock.Now);
        foreach (string name in (string[])["served", "gone", "waits"]) left.Add(Event(TcmuEventKind.Added, name));
        _clock.Pass(TimeSpan.FromSeconds(5));
        Assert.Equal("tcm-user/0/waits/test/x", Assert.Single(await TakeAsync(left, 1)).DeviceName);
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.Empty(left.Take());
    }

    /// <summary>Whoever removes the device holds its folder: that look waits, and nothing else does.</summary>
    [Fact]
    public async Task ALookThatWaitsHoldsUpNoOther()
    {
        using var folder = new ManualResetEventSlim();
        var left = new LeftEvents(e => !e.DeviceName.Contains("held", StringComparison.Ordinal) ? false : folder.Wait(TimeSpan.FromSeconds(30)) && false, () => _clock.Now);
        left.Add(Event(TcmuEventKind.Added, "held"));
        left.Add(Event(TcmuEventKind.Added, "other"));
        _clock.Pass(TimeSpan.FromSeconds(5));
        Assert.Equal("tcm-user/0/other/test/x", Assert.Single(await TakeAsync(left, 1)).DeviceName);
        folder.Set();
        Assert.Equal("tcm-user/0/held/test/x", Assert.Single(await TakeAsync(left, 1)).DeviceName);
    }

    /// <summary>A look that finds no descriptor says nothing: nobody has answered yet.</summary>
    [Fact]
    public async Task ALookForWhichThereIsNoDescriptorIsRepeated()
    {
        int looks = 0;
        var left = new LeftEvents(_ => looks++ == 0 ? throw new IOException("Too many open files", (int)Errno.EMFILE) : false, () => _clock.Now);
        left.Add(Event(TcmuEventKind.Added));
        _clock.Pass(TimeSpan.FromSeconds(5));
        await UserBench.UntilAsync(() => left.Take().Count == 0 && looks == 1, "the look");
        Assert.False(left.IsEmpty);
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.Empty(left.Take());
        _clock.Pass(TimeSpan.FromSeconds(5));
        Assert.Single(await TakeAsync(left, 1));
    }

    /// <summary>A device has one wait at a time: an answer to an older event would be taken for that to the newer one.</summary>
    [Fact]
    public void ANewerEventOfTheDeviceEndsTheOlderOne()
    {
        var left = new LeftEvents(_ => false, () => _clock.Now);
        TcmuEvent change = Event(TcmuEventKind.Removed), removal = Event(TcmuEventKind.Removed);
        left.Told(change);
        left.Add(change);
        left.Told(removal);
        left.Add(removal);
        _clock.Pass(TimeSpan.FromSeconds(5));
        Assert.Same(removal, Assert.Single(left.Take()).Event);
        Assert.False(left.IsNewest(change));
    }
}
