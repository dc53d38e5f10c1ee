namespace LunKit.Scsi;

/// <summary>Status codes of SAM-6 5.3.1.</summary>
public enum ScsiStatus : byte
{
#pragma warning disable CS1591 // The names are the standard's.
    Good = 0x00, CheckCondition = 0x02, ConditionMet = 0x04, Busy = 0x08, ReservationConflict = 0x18, TaskSetFull = 0x28,
    AcaActive = 0x30, TaskAborted = 0x40,
#pragma warning restore CS1591
}

/// <summary>Task attributes of SAM-6 8.9, with the codes that iSCSI uses for them (RFC 7143 11.3.1).</summary>
public enum TaskAttribute : byte
{
#pragma warning disable CS1591
    Untagged = 0, Simple = 1, Ordered = 2, HeadOfQueue = 3, Aca = 4,
#pragma warning restore CS1591
}

/// <summary>Task management functions of SAM-6 7, with the codes that iSCSI uses for them (RFC 7143 11.5.1).</summary>
public enum TaskManagementFunction : byte
{
#pragma warning disable CS1591
    AbortTask = 1, AbortTaskSet = 2, ClearAca = 3, ClearTaskSet = 4, LogicalUnitReset = 5, TargetWarmReset = 6,
    TargetColdReset = 7, TaskReassign = 8,
#pragma warning restore CS1591
}
