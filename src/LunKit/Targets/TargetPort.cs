namespace LunKit.Targets;

/// <summary>A SCSI target port: for iSCSI one target portal group of one target (RFC 7143 4.4.1).</summary>
/// <param name="Name">SCSI port name, e.g. <c>iqn.2026-11.local.lunkit:disk,t,0x0001</c>.</param>
/// <param name="RelativeId">Relative target port identifier, 1 to 65535; 0 when the fabric does not tell ports apart.</param>
/// <param name="GroupId">Target port group for asymmetric access (ALUA), 0 to 65535.</param>
/// <param name="DeviceName">SCSI name of the target device, e.g. the iSCSI target name.</param>
public sealed record TargetPort(string Name, int RelativeId, int GroupId, string DeviceName);
