using System.Buffers.Binary;
using LunKit.Linux;
using LunKit.Tcmu.Ring;

namespace LunKit.Benchmarks;

/// <summary>The handler's side, in a process of its own: writes the number of each command into its block, and completes it.</summary>
internal static class RingHandler
{
    private const int PublishEvery = 16;

    public static int Run(string path)
    {
        using var channel = UnixChannel.Connect(path);
        using var wake = new EventFd();
        var message = new byte[16];
        Microsoft.Win32.SafeHandles.SafeFileHandle[] descriptors;
        while (channel.Receive(message, out descriptors) < 0) channel.Wait(wake, 100);
        IDisposable mapping = new MappedRegion(descriptors[0], BitConverter.ToInt32(message));
        using var toHandler = new EventFd(descriptors[1]);
        using var toTarget = new EventFd(descriptors[2]);
        var ring = new RingConsumer(((MappedRegion)mapping).Memory);
        var spin = new SpinBudget();
        var entry = new RingEntry();
        Func<int> look = () => ring.IsDrained ? -1 : 0;
        while (true)
        {
            if (Serve(ring, entry, toTarget) || spin.Look(look) == 0) continue;
            ring.Say(Watch.Sleeps);
            if (ring.IsDrained) toHandler.Wait(1000);
            ring.Say(Watch.Looks);
        }
    }

    /// <summary>All that is in the ring; whether that was anything.</summary>
    private static bool Serve(RingConsumer ring, RingEntry entry, EventFd toTarget)
    {
        int served = 0;
        while (ring.TryRead(entry) == RingOpcode.Command)
        {
            entry.Data.TryGetSingle(out var data);
            BitConverter.TryWriteBytes(data.Span, BinaryPrimitives.ReadUInt32BigEndian(entry.Cdb[2..]));
            ring.Complete(entry.Id, 0, default);
            if (++served % PublishEvery == 0 && ring.Publish()) toTarget.Signal();
        }
        if (ring.Publish()) toTarget.Signal();
        return served > 0;
    }
}
