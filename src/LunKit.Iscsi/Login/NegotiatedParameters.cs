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

    /// <summary>Whether <see cref="FirstBurstLength"/> was negotiated, and so cannot change any more.</summary>
    public bool FirstBurstIsAgreed { get; set; }

    public int MaxOutstandingR2T { get; set; } = 1;
    public bool DataPduInOrder { get; set; } = true;
    public bool DataSequenceInOrder { get; set; } = true;
    public int DefaultTime2Wait { get; set; } = 2;
    public int DefaultTime2Retain { get; set; } = 20;
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

    /// <summary>What a text exchange may change in full feature phase, to be taken over when the exchange has ended.</summary>
    public NegotiatedParameters Draft() => new() { PeerMaxRecvDataSegmentLength = PeerMaxRecvDataSegmentLength, InitiatorAlias = InitiatorAlias };

    /// <summary>Takes over what a text exchange has changed in a <see cref="Draft"/>.</summary>
    public void Take(NegotiatedParameters draft) =>
        (PeerMaxRecvDataSegmentLength, InitiatorAlias) = (draft.PeerMaxRecvDataSegmentLength, draft.InitiatorAlias);

    /// <summary>The initiator's name in lower case (<see cref="IscsiName"/>).</summary>
    public string InitiatorName { get; set; } = "";
    public string? InitiatorAlias { get; set; }
    public string? TargetName { get; set; }
    public bool IsDiscovery { get; set; }
}
