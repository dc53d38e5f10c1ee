namespace LunKit.Iscsi;

/// <summary>What a peer did wrong on the protocol; ends its connection at one place.</summary>
internal sealed class IscsiProtocolException(string message) : Exception(message);
