namespace LunKit.Scsi;

/// <summary>Operation codes of SPC-5, SBC-4 and ZBC-2 that LunKit knows by name.</summary>
public enum Opcode : byte
{
#pragma warning disable CS1591 // The names are the standards'.
    TestUnitReady = 0x00, RequestSense = 0x03, FormatUnit = 0x04, Read6 = 0x08, Write6 = 0x0A, Inquiry = 0x12,
    ModeSelect6 = 0x15, Reserve6 = 0x16, Release6 = 0x17, ModeSense6 = 0x1A, StartStopUnit = 0x1B,
    ReceiveDiagnosticResults = 0x1C, SendDiagnostic = 0x1D, PreventAllowMediumRemoval = 0x1E,
    ReadCapacity10 = 0x25, Read10 = 0x28, Write10 = 0x2A, WriteAndVerify10 = 0x2E, Verify10 = 0x2F, PreFetch10 = 0x34,
    SynchronizeCache10 = 0x35, ReadDefectData10 = 0x37, WriteBuffer = 0x3B, ReadBuffer10 = 0x3C, WriteSame10 = 0x41,
    Unmap = 0x42, Sanitize = 0x48, LogSelect = 0x4C, LogSense = 0x4D, ModeSelect10 = 0x55, Reserve10 = 0x56,
    Release10 = 0x57, ModeSense10 = 0x5A, PersistentReserveIn = 0x5E, PersistentReserveOut = 0x5F,
    VariableLength = 0x7F, ThirdPartyCopyOut = 0x83, ThirdPartyCopyIn = 0x84, Read16 = 0x88, CompareAndWrite = 0x89,
    Write16 = 0x8A, OrWrite16 = 0x8B, WriteAndVerify16 = 0x8E, Verify16 = 0x8F, PreFetch16 = 0x90,
    SynchronizeCache16 = 0x91, WriteSame16 = 0x93, WriteAtomic16 = 0x9C, ServiceActionIn16 = 0x9E, ReportLuns = 0xA0,
    MaintenanceIn = 0xA3, MaintenanceOut = 0xA4, Read12 = 0xA8, Write12 = 0xAA, WriteAndVerify12 = 0xAE,
    Verify12 = 0xAF, ReadDefectData12 = 0xB7,
#pragma warning restore CS1591
}
