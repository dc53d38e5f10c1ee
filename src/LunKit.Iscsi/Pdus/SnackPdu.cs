namespace LunKit.Iscsi.Pdus;

/// <summary>What a SNACK asks for (RFC 7143 11.16.1).</summary>
internal enum SnackType : byte
{
    /// <summary>Data-In or R2T PDUs of a task, as they were.</summary>
    Data = 0,
    /// <summary>Numbered responses.</summary>
    Status = 1,
    /// <summary>Nothing: it acknowledges data that was sent with the A bit.</summary>
    DataAck = 2,
    /// <summary>All Data-In PDUs of a task, cut anew.</summary>
    ResegmentedData = 3,
}

/// <summary>SNACK Request (RFC 7143 11.16).</summary>
internal readonly ref struct SnackPdu(Span<byte> bhs)
{
    private readonly Bhs _bhs = new(bhs);

    public SnackType Type => (SnackType)(_bhs.Flags & 0x0F);

    /// <summary>Comes back in the response after a <see cref="SnackType.ResegmentedData"/>.</summary>
    public uint SnackTag => _bhs.TargetTransferTag;

    /// <summary>First DataSN, R2TSN or StatSN that is asked for.</summary>
    public uint BegRun => _bhs.Get(40);

    /// <summary>How many; 0 for all that there are.</summary>
    public uint RunLength => _bhs.Get(44);

    public static void Write(Span<byte> bhs, SnackType type, uint tag, uint snackTag, uint begRun, uint runLength)
    {
        bhs.Clear();
        var h = new Bhs(bhs) { Opcode = PduOpcode.SnackRequest, Flags = (byte)(0x80 | (byte)type), InitiatorTaskTag = tag, TargetTransferTag = snackTag };
        h.Set(40, begRun);
        h.Set(44, runLength);
    }
}
