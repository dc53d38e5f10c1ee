using System.Runtime.InteropServices;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Target;

/// <summary>Initiators that are gone, of which the handler is to hear before the next command. The lock of the <see cref="UserRing"/> guards it.</summary>
internal sealed class LostNexuses
{
    private readonly Queue<ulong> _numbers = new();

    public void Add(ulong number) => _numbers.Enqueue(number);

    /// <summary>A handler that has just come knows no initiator.</summary>
    public void Clear() => _numbers.Clear();

    /// <summary>Tells as many as there is room for.</summary>
    public void Tell(RingProducer producer)
    {
        while (_numbers.TryPeek(out ulong initiator))
        {
            var number = MemoryMarshal.Cast<ulong, ushort>(new ReadOnlySpan<ulong>(in initiator));
            if (!producer.TryPostManagement(TaskManagementAbi.NexusLost, number)) return;
            _numbers.Dequeue();
        }
    }
}
