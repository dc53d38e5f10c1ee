using LunKit.Linux;
using Microsoft.Win32.SafeHandles;
using Xunit;

namespace LunKit.Tests.Linux;

/// <summary>
/// The kernel gives the number of a closed descriptor to the next file. Whoever uses an object after its end is told so, and hurts nobody
/// who has the number now.
/// </summary>
public sealed class DescriptorTests
{
    private static string NewPath() => $"@lunkit-test-{Guid.NewGuid():n}";

    [Fact]
    public void AClosedChannelSaysSo()
    {
        string path = NewPath();
        using var listener = UnixChannel.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        var channel = UnixChannel.Connect(path);
        using var peer = listener.Accept();
        using var wake = new EventFd();
        channel.Dispose();
        Assert.Throws<ObjectDisposedException>(() => channel.Send([1, 2, 3]));
        Assert.Throws<ObjectDisposedException>(() => channel.Receive(new byte[8], out _));
        Assert.Throws<ObjectDisposedException>(() => channel.Wait(wake, 0));
        Assert.Throws<ObjectDisposedException>(() => channel.Peer);
    }

    [Fact]
    public void AClosedDescriptorIsNotHandedOver()
    {
        string path = NewPath();
        using var listener = UnixChannel.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using var channel = UnixChannel.Connect(path);
        using var peer = listener.Accept()!;
        EventFd gone = new(), there = new();
        var handle = gone.Handle;
        gone.Dispose();
        Assert.Throws<ObjectDisposedException>(() => channel.Send([1], there.Handle, handle));
        channel.Send([2], there.Handle);
        there.Dispose();
        Assert.True(there.Handle.IsClosed);
        Assert.Equal(1, peer.Receive(new byte[8], out var descriptors));
        Assert.Single(descriptors).Dispose();
    }

    [Fact]
    public void SignalsToWhoeverHasGoneAreLost()
    {
        var wake = new EventFd();
        wake.Dispose();
        wake.Signal();
        Assert.Throws<ObjectDisposedException>(() => wake.Wait(0));
    }

    [Fact]
    public void AFileThatIsClosedIsNotWritten()
    {
        string path = Path.GetTempFileName();
        SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => FileDescriptor.Write(file, 0, "late"u8));
        Assert.Throws<ObjectDisposedException>(() => FileDescriptor.Flush(file));
        Assert.Throws<ObjectDisposedException>(() => FileDescriptor.TryLock(file, shared: true));
        Assert.Equal("", File.ReadAllText(path));
        File.Delete(path);
    }

    /// <summary>Many threads talk through channels that others close meanwhile; none of what they say is ever in a file that was opened in between.</summary>
    [Fact]
    public async Task NothingIsSaidToStrangers()
    {
        string path = NewPath();
        using var listener = UnixChannel.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        for (int round = 0; round < 200; round++)
        {
            var channel = UnixChannel.Connect(path);
            using var peer = listener.Accept();
            using var go = new Barrier(3);
            var talkers = Enumerable.Range(0, 2).Select(_ => Task.Factory.StartNew(() =>
            {
                go.SignalAndWait();
                try
                {
                    for (int i = 0; i < 50; i++) channel.Send([0xEE]);
                }
                catch (Exception e) when (e is ObjectDisposedException or LinuxException)
                {
                    // Closed meanwhile, or full.
                }
            }, TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default)).ToArray();
            go.SignalAndWait();
            channel.Dispose();
            // Descriptors with the number that has just become free; a message to one of them would be there to read.
            using var next = UnixChannel.Connect(path);
            using var nextPeer = listener.Accept()!;
            await Task.WhenAll(talkers);
            Assert.Equal(-1, nextPeer.Receive(new byte[8], out _));
            Assert.Equal(-1, next.Receive(new byte[8], out _));
        }
    }
}
