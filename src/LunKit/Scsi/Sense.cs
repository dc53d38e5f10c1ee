namespace LunKit.Scsi;

/// <summary>Sense keys of SPC-5 4.5.6.</summary>
public enum SenseKey : byte
{
#pragma warning disable CS1591 // The names are the standard's.
    NoSense = 0, RecoveredError = 1, NotReady = 2, MediumError = 3, HardwareError = 4, IllegalRequest = 5, UnitAttention = 6,
    DataProtect = 7, BlankCheck = 8, VendorSpecific = 9, CopyAborted = 0xA, AbortedCommand = 0xB, VolumeOverflow = 0xD, Miscompare = 0xE,
#pragma warning restore CS1591
}

/// <summary>Sense key, additional sense code and qualifier: what went wrong, as a value.</summary>
/// <param name="Key">SPC-5 4.5.6.</param>
/// <param name="Asc">Additional sense code, SPC-5 annex F.</param>
/// <param name="Ascq">Additional sense code qualifier.</param>
public readonly partial record struct Sense(SenseKey Key, byte Asc, byte Ascq)
{
    /// <summary>The form in which storage engineers write it, e.g. <c>05/24/00</c>.</summary>
    public override string ToString() => $"{(int)Key:X2}/{Asc:X2}/{Ascq:X2}";
}
