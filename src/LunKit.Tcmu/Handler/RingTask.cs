using System.Buffers;
using LunKit.Backstores;
using LunKit.Fabrics;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Handler;

/// <summary>
/// A command of a ring on its way through the unit. Its data stays in the shared data area: writes go from there, reads go there. Pooled
/// by its device, whose thread uses it, except <see cref="RentDataIn"/> and the completion.
/// </summary>
internal sealed class RingTask : FabricTask
{
    private DataBuffer _dataIn;
    private byte[]? _scratch;
    private bool _takesData;

    public RingTask(RingDevice device) => Device = device;

    /// <summary>The device whose ring it came through.</summary>
    public RingDevice Device { get; }

    public RingEntry Entry { get; } = new();


    /// <summary>Gets ready to run what <see cref="Entry"/> holds.</summary>
    public void Prepare(UnitNexus nexus)
    {
        Reset(Entry.Cdb);
        Nexus = nexus.Nexus;
        UnitNexus = nexus;
        Tag = Entry.Id;
        // SAM-6 8.9; what is not told is simple.
        Attribute = Entry.Origin.Attribute is >= 1 and <= 4 ? (TaskAttribute)Entry.Origin.Attribute : TaskAttribute.Simple;
        // The ring does not say which way the data goes; the command does.
        long wanted = nexus.Unit.DataOutLength(Cdb, Entry.Data.Length);
        _takesData = wanted > 0;
        _dataIn = _takesData ? Entry.BidirectionalData : Entry.Data;
        DataInBufferSize = _dataIn.Length;
        DataOutBufferSize = Entry.Origin.Initiator != 0 ? Entry.Origin.DataOutBufferSize : _takesData ? Entry.Data.Length : 0;
        DataOut = _takesData ? Entry.Data.Slice(0, (int)Math.Min(wanted, Entry.Data.Length)) : default;
    }

    public override DataBuffer RentDataIn(int length)
    {
        if (length <= _dataIn.Length) return _dataIn.Slice(0, length);
        // More than the initiator's buffer has: the unit makes all of it, the beginning goes out.
        _scratch = ArrayPool<byte>.Shared.Rent(length);
        return new DataBuffer(_scratch.AsMemory(0, length));
    }

    private protected override void OnCompleted() => Device.Completed(this);

    /// <summary>
    /// Puts the data in its place and returns how many bytes of it count; 0: the whole buffer. What the command did not fill is
    /// cleared where the producer would hand it on, for another command's bytes may be there.
    /// </summary>
    public int FinishData(CommandResult result, bool canTellLength)
    {
        int produced = result.Status is ScsiStatus.Good or ScsiStatus.CheckCondition ? Math.Min(result.DataInLength, _dataIn.Length) : 0;
        if (_scratch is not null && produced > 0) _dataIn.CopyFrom(_scratch.AsSpan(0, produced));
        ReleaseScratch();
        // With its length told, data is handed on beside sense (a tape's short block).
        if (result.Status == ScsiStatus.CheckCondition && canTellLength && produced > 0) return produced;
        bool handedOn = !_takesData && result.Status != ScsiStatus.CheckCondition && produced < _dataIn.Length;
        if (!handedOn) return 0;
        if (canTellLength && produced > 0) return produced;
        foreach (var segment in _dataIn.Slice(produced, _dataIn.Length - produced)) segment.Span.Clear();
        return 0;
    }

    /// <summary>Gives back what it has besides the shared memory.</summary>
    public void ReleaseScratch()
    {
        if (_scratch is null) return;
        ArrayPool<byte>.Shared.Return(_scratch);
        _scratch = null;
    }
}
