using LunKit.Iscsi.Sessions;

namespace LunKit.Tests.Iscsi;

/// <summary>The command window of a session (RFC 7143 4.2.2), on its own.</summary>
public class CommandWindowTests
{
    private const int All = CommandWindow.NoLun;

    private static CommandOrder Take(CommandWindow window, uint cmdSn, int lun = 0) => window.Take(cmdSn, lun, waits: false, out _);

    [Theory]
    [InlineData(1u)]
    [InlineData(uint.MaxValue - 1)]
    public void CommandsHaveTheirTurn(uint first)
    {
        var window = new CommandWindow(first, 4);
        Assert.Equal((first, first + 3), (window.ExpCmdSn, window.MaxCmdSn));
        Assert.Equal(CommandOrder.Later, Take(window, first + 1));
        Assert.Equal(CommandOrder.Later, Take(window, first + 3));
        Assert.Equal(CommandOrder.Ignore, Take(window, first + 4));
        Assert.Equal(CommandOrder.Ignore, Take(window, first - 1));
        Assert.Equal(CommandOrder.Now, window.Look(first));
        Assert.Equal(CommandOrder.Now, Take(window, first));
        Assert.Equal(CommandOrder.Ignore, Take(window, first));
        Assert.Equal((first + 1, first + 4), (window.ExpCmdSn, window.MaxCmdSn));
        Assert.Equal(CommandOrder.Now, Take(window, first + 1));
    }

    /// <summary>Commands that go on after their batch keep places; MaxCmdSN never goes back.</summary>
    [Fact]
    public void HeldPlacesNarrowIt()
    {
        var window = new CommandWindow(1, 3);
        for (uint i = 1; i <= 3; i++)
        {
            Assert.Equal(CommandOrder.Now, Take(window, i));
            window.Hold();
            Assert.Equal(4u, window.MaxCmdSn);
        }
        Assert.Equal(4u, window.ExpCmdSn);
        Assert.Equal(CommandOrder.Ignore, window.Look(5));
        window.Release();
        Assert.Equal(4u, window.MaxCmdSn);
        window.Release();
        Assert.Equal(5u, window.MaxCmdSn);
        window.Release();
        Assert.Equal(6u, window.MaxCmdSn);
    }

    [Fact]
    public void ASkippedCommandNeverRuns()
    {
        var window = new CommandWindow(1, 8);
        Assert.False(window.HasSkipped);
        Assert.False(window.Skip(0));
        Assert.False(window.Skip(9));
        Assert.False(window.HasSkipped);
        Assert.True(window.Skip(2));
        Assert.True(window.Skip(3));
        Assert.True(window.HasSkipped);
        Assert.Equal(CommandOrder.Ignore, Take(window, 2));
        Assert.Equal(CommandOrder.Now, Take(window, 1));
        Assert.Equal(4u, window.ExpCmdSn);
        // The one whose turn it is.
        Assert.True(window.Skip(4));
        Assert.Equal(5u, window.ExpCmdSn);
        Assert.Equal(12u, window.MaxCmdSn);
    }

    [Fact]
    public void AFenceEndsWhatHasNotComeAtItsLun()
    {
        var window = new CommandWindow(1, 8);
        // Nothing is missing.
        Assert.True(window.TryFence(1, 5));
        Assert.Equal(CommandOrder.Now, Take(window, 1, 5));
        Assert.True(window.TryFence(5, 5));
        Assert.True(window.TryFence(5, 5));
        Assert.Equal(CommandOrder.Aborted, Take(window, 2, 5));
        Assert.Equal(CommandOrder.Now, Take(window, 3, 6));
        // What is no command passes.
        Assert.Equal(CommandOrder.Now, Take(window, 4, All));
        Assert.Equal(CommandOrder.Now, Take(window, 5, 5));
        Assert.True(window.TryFence(7, All));
        Assert.Equal(CommandOrder.Aborted, Take(window, 6, 9));
        Assert.Equal(CommandOrder.Now, Take(window, 7, 9));
        // A number past the window stands for all of it.
        Assert.True(window.TryFence(1000, 1));
        for (uint i = 8; i <= 15; i++) Assert.Equal(CommandOrder.Aborted, Take(window, i, 1));
        Assert.Equal(CommandOrder.Now, Take(window, 16, 1));
    }

    /// <summary>A function for all LUNs ends commands of each; a logout or a text that comes late is none.</summary>
    [Fact]
    public void AFenceForAllLunsEndsNothingButCommands()
    {
        var window = new CommandWindow(1, 8);
        Assert.True(window.TryFence(4, All));
        Assert.Equal(CommandOrder.Now, Take(window, 1, All));
        Assert.Equal(CommandOrder.Aborted, Take(window, 2, 0));
        Assert.Equal(CommandOrder.Now, Take(window, 3, All));
    }

    [Fact]
    public void FencesAreBounded()
    {
        var window = new CommandWindow(1, 200);
        for (uint i = 0; i < 64; i++) Assert.True(window.TryFence(2 + i, 0));
        Assert.False(window.TryFence(100, 0));
        Assert.Equal(CommandOrder.Aborted, Take(window, 1));
        Assert.True(window.TryFence(100, 0));
    }

    [Fact]
    public void OnlyThoseThatHoldCommandsAreWoken()
    {
        var window = new CommandWindow(1, 8);
        Assert.Equal(CommandOrder.Now, window.Take(1, 0, waits: false, out bool wakes));
        Assert.False(wakes);
        window.AddWaiter();
        window.Take(7, 0, waits: false, out wakes);
        Assert.False(wakes);
        window.Take(2, 0, waits: false, out wakes);
        Assert.True(wakes);
        // The one that asks is the one that holds.
        window.Take(3, 0, waits: true, out wakes);
        Assert.False(wakes);
        window.AddWaiter();
        window.Take(4, 0, waits: true, out wakes);
        Assert.True(wakes);
        window.RemoveWaiter();
        window.RemoveWaiter();
        window.Take(5, 0, waits: false, out wakes);
        Assert.False(wakes);
    }
}
