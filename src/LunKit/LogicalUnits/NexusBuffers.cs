using LunKit.Backstores;

namespace LunKit.LogicalUnits;

/// <summary>
/// The buffers of READ BUFFER and WRITE BUFFER of one I_T nexus: one data buffer and one echo buffer for all of its logical units together, so
/// that a nexus costs no more than that, however many units it sees. They hold what was written last; for another unit they are as if
/// never written (SPC-5 6.49 lets other commands change a buffer). Thread safe.
/// </summary>
internal sealed class NexusBuffers
{
    public const int DataCapacity = 64 * 1024, EchoCapacity = 4096;

    private readonly Lock _gate = new();
    private byte[]? _data, _echo;
    private UnitNexus? _dataOf, _echoOf;

    /// <summary>Whether memory was taken for the data buffer.</summary>
    public bool HasData
    {
        get
        {
            lock (_gate) return _data is not null;
        }
    }

    /// <summary>Fills <paramref name="data"/> from the data buffer; zeroes where the unit's was not written.</summary>
    public void ReadData(UnitNexus unit, int offset, DataBuffer data)
    {
        lock (_gate)
        {
            if (_dataOf == unit) data.CopyFrom(_data.AsSpan(offset));
            else data.Clear();
        }
    }

    public void WriteData(UnitNexus unit, int offset, DataBuffer data)
    {
        lock (_gate)
        {
            _data ??= new byte[DataCapacity];
            if (_dataOf != unit) Array.Clear(_data);
            _dataOf = unit;
            data.CopyTo(_data.AsSpan(offset));
        }
    }

    /// <summary>What the unit's echo buffer holds; null when it was not written.</summary>
    public byte[]? ReadEcho(UnitNexus unit)
    {
        lock (_gate) return _echoOf == unit ? _echo : null;
    }

    public void WriteEcho(UnitNexus unit, byte[] data)
    {
        lock (_gate) (_echo, _echoOf) = (data, unit);
    }
}
