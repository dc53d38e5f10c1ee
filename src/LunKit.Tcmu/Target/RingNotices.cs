using System.Runtime.InteropServices;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Target;

/// <summary>What the handler is to hear before the next command: LUN resets, and initiators that are gone. The lock of the <see cref="UserRing"/> guards it.</summary>
internal sealed class RingNotices
{
    private readonly Queue<ulong> _lost = new();
    private bool _isReset;

    public void OweReset() => _isReset = true;

    /// <summary>An initiator, by its number, is gone.</summary>
    public void OweLoss(ulong number) => _lost.Enqueue(number);

    /// <summary>A handler that has just come knows no initiator.</summary>
    public void Clear()
    {
        _lost.Clear();
        _isReset = false;
    }

    /// <summary>Tells as much as there is room for.</summary>
    public void Tell(RingProducer producer)
    {
        if (_isReset && !producer.TryPostManagement(TaskManagementAbi.LunReset, [])) return;
        _isReset = false;
        while (_lost.TryPeek(out ulong initiator))
        {
            var number = MemoryMarshal.Cast<ulong, ushort>(new ReadOnlySpan<ulong>(in initiator));
            if (!producer.TryPostManagement(TaskManagementAbi.NexusLost, number)) return;
            _lost.Dequeue();
        }
    }
}
