namespace LunKit.Iscsi.Pdus;

/// <summary>Task Management Function Request and Response (RFC 7143 11.5, 11.6).</summary>
internal readonly ref struct TaskManagementPdu(Span<byte> bhs)
{
    private readonly Bhs _bhs = new(bhs);

    public int Function => _bhs.Flags & 0x7F;
    public uint ReferencedTaskTag => _bhs.Get(20);
    public uint RefCmdSn => _bhs.Get(32);

    /// <summary>TASK REASSIGN: the DataSN or R2TSN that the initiator expects next.</summary>
    public uint ExpDataSn => _bhs.Get(36);
    public TaskManagementResult Response => (TaskManagementResult)_bhs.Bytes[2];

    public static void WriteRequest(Span<byte> bhs, int function, ulong lun, uint tag, uint referencedTag, uint refCmdSn, uint expDataSn = 0)
    {
        bhs.Clear();
        var h = new Bhs(bhs) { Opcode = PduOpcode.TaskManagementRequest, Flags = (byte)(0x80 | function), Lun = lun, InitiatorTaskTag = tag };
        h.Set(20, referencedTag);
        h.Set(32, refCmdSn);
        h.Set(36, expDataSn);
    }

    public static void WriteResponse(Span<byte> bhs, uint tag, TaskManagementResult result)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = PduOpcode.TaskManagementResponse, Flags = 0x80, InitiatorTaskTag = tag };
        bhs[2] = (byte)result;
    }
}

/// <summary>Response codes of RFC 7143 11.6.1.</summary>
internal enum TaskManagementResult : byte
{
    Complete = 0, TaskDoesNotExist = 1, LunDoesNotExist = 2, TaskStillAllegiant = 3, ReassignmentNotSupported = 4, NotSupported = 5,
    AuthorizationFailed = 6, Rejected = 255,
}
