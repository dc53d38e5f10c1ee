namespace LunKit.Iscsi.Sessions;

/// <summary>Serial number arithmetic of RFC 1982 for CmdSN, StatSN and DataSN.</summary>
internal static class SerialNumber
{
    public static bool IsBefore(uint a, uint b) => (int)(a - b) < 0;
}
