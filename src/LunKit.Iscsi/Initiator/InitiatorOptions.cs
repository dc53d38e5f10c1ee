using System.Net;
using LunKit.Targets;

namespace LunKit.Iscsi.Initiator;

/// <summary>How an <see cref="IscsiInitiator"/> logs in.</summary>
public sealed record InitiatorOptions
{
    /// <summary>Portal of the target.</summary>
    public required IPEndPoint Portal { get; init; }

    /// <summary>Name of the target; null for a discovery session.</summary>
    public string? TargetName { get; init; }

    /// <summary>Name of this initiator.</summary>
    public string InitiatorName { get; init; } = "iqn.2026-11.local.lunkit:initiator";

    /// <summary>ISID, 48 bits; with the name the identity of the initiator port.</summary>
    public ulong Isid { get; init; } = 0x8000_0000_0001;

    /// <summary>Credential for CHAP; null: none is offered.</summary>
    public ChapCredential? Chap { get; init; }

    /// <summary>CHAP algorithms to offer, in order of preference: 8 SHA3-256, 7 SHA-256, 6 SHA1, 5 MD5.</summary>
    public IReadOnlyList<int> ChapAlgorithms { get; init; } = [7, 6, 5];

    /// <summary>What the target must prove to know (mutual CHAP); null: it is not asked.</summary>
    public ChapCredential? MutualChap { get; init; }

    /// <summary>Offer header digests.</summary>
    public bool HeaderDigest { get; init; }

    /// <summary>Offer data digests.</summary>
    public bool DataDigest { get; init; }

    /// <summary>Send no data before an R2T.</summary>
    public bool InitialR2T { get; init; }

    /// <summary>Send data with the command.</summary>
    public bool ImmediateData { get; init; } = true;

    /// <summary>Data segment bytes that this initiator takes in one PDU.</summary>
    public int MaxRecvDataSegmentLength { get; init; } = 256 * 1024;

    /// <summary>Keys that override or add to the operational ones.</summary>
    public IReadOnlyDictionary<string, string> ExtraKeys { get; init; } = new Dictionary<string, string>();

    /// <summary>Connections to ask for (MaxConnections).</summary>
    public int MaxConnections { get; init; } = 1;

    /// <summary>Session to join with another connection (TSIH); 0 for a new session.</summary>
    public ushort SessionHandle { get; init; }

    /// <summary>Connection identifier (CID) in the session.</summary>
    public ushort ConnectionId { get; init; }

    /// <summary>Seconds for the login, and for the answer to each request.</summary>
    public int TimeoutSeconds { get; init; } = 15;
}

/// <summary>A login that the target refused.</summary>
/// <param name="status">Status class and detail of RFC 7143 11.13.5, e.g. 0x0201.</param>
/// <param name="message">What it means.</param>
/// <param name="targetAddress">Where the target sends the initiator instead (redirection).</param>
public sealed class IscsiLoginException(int status, string message, string? targetAddress = null) : Exception(message)
{
    /// <summary>Status class and detail.</summary>
    public int Status { get; } = status;

    /// <summary>Address of a redirection, or null.</summary>
    public string? TargetAddress { get; } = targetAddress;
}

/// <summary>The answer to a SCSI command.</summary>
/// <param name="Status">SCSI status.</param>
/// <param name="Data">Data from the target.</param>
/// <param name="Sense">Sense data, empty if none.</param>
/// <param name="Residual">Bytes not transferred (positive: underflow, negative: overflow).</param>
public readonly record struct ScsiAnswer(Scsi.ScsiStatus Status, byte[] Data, byte[] Sense, long Residual)
{
    /// <summary>Key, code and qualifier of the sense data, of either format.</summary>
    public Scsi.Sense SenseCode => Sense.Length < 4 ? default
        : (Sense[0] & 0x7F) >= 0x72 ? new((Scsi.SenseKey)(Sense[1] & 0x0F), Sense[2], Sense[3])
        : new((Scsi.SenseKey)(Sense[2] & 0x0F), Sense[12], Sense[13]);
}
