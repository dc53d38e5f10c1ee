using System.Runtime.InteropServices;
using LunKit.Linux;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Ring;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>
/// A handler process played by a test: it connects, opens a device, and does with the ring what the test wants, lies included. Its end is a
/// process's end: memory and lease are gone, in that order.
/// </summary>
internal sealed class ScriptedHandler : IDisposable
{
    private readonly EventFd _wake = new();
    private SafeFileHandle[] _descriptors = [];
    private MappedRegion? _region;
    private EventFd? _toHandler, _toTarget;

    public ScriptedHandler(string path) => Channel = UnixChannel.Connect(path);

    public UnixChannel Channel { get; }
    public UserMessage Grant { get; private set; } = null!;
    public TcmuEvent Added { get; private set; } = null!;
    public RingConsumer Ring { get; private set; } = null!;
    public Memory<byte> Region => _region!.Memory;
    public ref MailboxAbi Mailbox => ref MemoryMarshal.AsRef<MailboxAbi>(Region.Span);

    /// <summary>The next message, or null after the time.</summary>
    public (TcmuEvent? Event, UserMessage? User)? Receive(int limitMilliseconds = 30_000)
    {
        var buffer = new byte[UserMessages.MaxLength];
        long end = Environment.TickCount64 + limitMilliseconds;
        while (Environment.TickCount64 < end)
        {
            int length = Channel.Receive(buffer, out var descriptors);
            if (length == 0) return (null, null);
            if (length < 0)
            {
                Channel.Wait(_wake, 20);
                continue;
            }
            if (descriptors.Length > 0) _descriptors = descriptors;
            ReadOnlySpan<byte> rest = buffer.AsSpan(0, length);
            Assert.True(NetlinkMessage.TryTake(ref rest, out var message));
            return (TcmuMessages.ParseEvent(message, UserMessages.Family), UserMessages.Parse(message));
        }
        return null;
    }

    /// <summary>Waits for a device to be offered, and opens it; says so when <paramref name="serves"/>.</summary>
    /// <param name="serves">Whether it says that it serves the device.</param>
    /// <param name="device">Which.</param>
    /// <param name="survives">Whether it says that its writes survive it.</param>
    public ScriptedHandler Open(bool serves = true, string device = "disk", bool survives = false)
    {
        for (Added = null!; Added is null;)
        {
            var (e, _) = Receive() ?? throw new TimeoutException("no device is offered");
            if (e is { Kind: TcmuEventKind.Added } && e.DeviceName.Contains($"/{device}/", StringComparison.Ordinal)) Added = e;
        }
        Channel.Send(UserMessages.Open(Added.DeviceId));
        for (Grant = null!; Grant is null;) Grant = (Receive() ?? throw new TimeoutException("no grant")).User!;
        if (Grant.Error != Errno.None) return this;
        Assert.Equal(4, _descriptors.Length);
        _region = new MappedRegion(_descriptors[0], (int)Grant.RegionBytes);
        (_toHandler, _toTarget) = (new EventFd(_descriptors[1]), new EventFd(_descriptors[2]));
        Ring = new RingConsumer(Region);
        if (survives) Declare();
        if (serves) Reply(Errno.None);
        return this;
    }

    public void Reply(Errno error) => Channel.Send(TcmuMessages.Done(UserMessages.Family, 1, Added, error));

    /// <summary>Says what survives its death.</summary>
    public void Declare(Durability durability = Durability.Acknowledged, bool keepsModes = false) => Ring.Say(new Survival(durability, keepsModes, ContinuesModes: false));

    /// <summary>The next command; fails after a while.</summary>
    public RingEntry Read()
    {
        var entry = new RingEntry();
        for (int i = 0; i < 500; i++)
        {
            if (Ring.TryRead(entry) == RingOpcode.Command) return entry;
            _toHandler!.Wait(10);
        }
        throw new TimeoutException("no command comes");
    }

    /// <summary>The next command or task management notification, or null at once.</summary>
    public RingOpcode? TryRead(RingEntry entry) => Ring.TryRead(entry);

    public void Complete(RingEntry entry, byte status = 0, int readLength = 0)
    {
        Ring.Complete(entry.Id, status, default, readLength);
        Publish();
    }

    public void Publish()
    {
        Ring.Publish();
        Kick();
    }

    public void Kick() => _toTarget!.Signal();

    /// <summary>Lets go of the device without a word, as a process that is killed.</summary>
    public void Dispose()
    {
        ((IDisposable?)_region)?.Dispose();
        _region = null;
        _toHandler?.Dispose();
        _toTarget?.Dispose();
        Channel.Dispose();
        foreach (var descriptor in _descriptors) descriptor.Dispose();
        _descriptors = [];
        _wake.Dispose();
    }
}
