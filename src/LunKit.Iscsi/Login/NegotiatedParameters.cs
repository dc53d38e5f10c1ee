namespace LunKit.Iscsi.Login;

/// <summary>
/// The operational parameters of a session and a connection (RFC 7143 13), at the values that the standard gives before any
/// negotiation.
/// </summary>
internal sealed class NegotiatedParameters
{
    public bool HeaderDigest { get; set; }
    public bool DataDigest { get; set; }

    /// <summary>Data segment bytes that the peer takes in one PDU.</summary>
    public int PeerMaxRecvDataSegmentLength { get; set; } = 8192;

    public int MaxConnections { get; set; } = 1;
    public bool InitialR2T { get; set; } = true;
    public bool ImmediateData { get; set; } = true;
    public int MaxBurstLength { get; set; } = 262144;
    public int FirstBurstLength { get; set; } = 65536;
    public int MaxOutstandingR2T { get; set; } = 1;
    public bool DataPduInOrder { get; set; } = true;
    public bool DataSequenceInOrder { get; set; } = true;
    public int DefaultTime2Wait { get; set; } = 2;
    public int DefaultTime2Retain { get; set; }
    public int ErrorRecoveryLevel { get; set; }

    /// <summary>Takes over what a session's leading connection has agreed on for all its connections (RFC 7143 13, "LO" keys).</summary>
    public void JoinSession(NegotiatedParameters session)
    {
        MaxConnections = session.MaxConnections;
        InitialR2T = session.InitialR2T;
        ImmediateData = session.ImmediateData;
        MaxBurstLength = session.MaxBurstLength;
        FirstBurstLength = session.FirstBurstLength;
        MaxOutstandingR2T = session.MaxOutstandingR2T;
        DefaultTime2Wait = session.DefaultTime2Wait;
        DefaultTime2Retain = session.DefaultTime2Retain;
        ErrorRecoveryLevel = session.ErrorRecoveryLevel;
    }

    public string InitiatorName { get; set; } = "";
    public string? InitiatorAlias { get; set; }
    public string? TargetName { get; set; }
    public bool IsDiscovery { get; set; }
}
