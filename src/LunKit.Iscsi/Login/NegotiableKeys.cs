using System.Globalization;

namespace LunKit.Iscsi.Login;

/// <summary>Where a key may stand (RFC 7143 13).</summary>
[Flags]
internal enum KeyScope
{
    Login = 1,
    FullFeature = 2,

    /// <summary>Only the first connection of a session negotiates it.</summary>
    LeadingOnly = 4,

    Anywhere = Login | FullFeature,
    Session = Login | LeadingOnly,
}

/// <summary>One key: where it may be used, and what takes the offer and gives the answer (null: declared, no answer).</summary>
internal sealed record NegotiableKey(KeyScope Scope, Func<NegotiatedParameters, IscsiLimits, string, string?> Answer);

/// <summary>
/// The operational keys of RFC 7143 13, as a table. "Reject" answers a value that the key cannot have. A discovery session is answered
/// like any other: for keys that mean nothing there the standard allows "Irrelevant", but not every initiator can read it.
/// </summary>
internal static class NegotiableKeys
{
    public const string Reject = "Reject", NotUnderstood = "NotUnderstood", Irrelevant = "Irrelevant", MaxBurstLength = "MaxBurstLength";

    public static readonly IReadOnlyDictionary<string, NegotiableKey> Table = new Dictionary<string, NegotiableKey>(StringComparer.Ordinal)
    {
        ["HeaderDigest"] = new(KeyScope.Login, (p, _, v) => Digest(v, on => p.HeaderDigest = on)),
        ["DataDigest"] = new(KeyScope.Login, (p, _, v) => Digest(v, on => p.DataDigest = on)),
        ["MaxRecvDataSegmentLength"] = new(KeyScope.Anywhere, (p, _, v) =>
            TextKeys.TryNumber(v, 512, 0xFF_FFFF, out int n) ? Declared(() => p.PeerMaxRecvDataSegmentLength = n) : Reject),
        ["MaxConnections"] = new(KeyScope.Session, (p, l, v) =>
            Minimum(v, 1, 65535, l.MaxConnectionsPerSession, n => p.MaxConnections = n)),
        ["InitialR2T"] = new(KeyScope.Session, (p, _, v) => Or(v, mine: false, b => p.InitialR2T = b)),
        ["ImmediateData"] = new(KeyScope.Session, (p, _, v) => And(v, mine: true, b => p.ImmediateData = b)),
        [MaxBurstLength] = new(KeyScope.Session, MaxBurst),
        ["FirstBurstLength"] = new(KeyScope.Session, FirstBurst),
        ["MaxOutstandingR2T"] = new(KeyScope.Session, (p, l, v) => Minimum(v, 1, 65535, l.MaxOutstandingR2T, n => p.MaxOutstandingR2T = n)),
        // Data in another order than its offsets is never sent and never accepted: both are answered Yes (OR).
        ["DataPDUInOrder"] = new(KeyScope.Session, (p, _, v) => Or(v, mine: true, b => p.DataPduInOrder = b)),
        ["DataSequenceInOrder"] = new(KeyScope.Session, (p, _, v) => Or(v, mine: true, b => p.DataSequenceInOrder = b)),
        ["DefaultTime2Wait"] = new(KeyScope.Session, (p, _, v) => Maximum(v, 0, 3600, 2, n => p.DefaultTime2Wait = n)),
        ["DefaultTime2Retain"] = new(KeyScope.Session, (p, l, v) =>
            Minimum(v, 0, 3600, l.Time2RetainSeconds, n => p.DefaultTime2Retain = n)),
        ["ErrorRecoveryLevel"] = new(KeyScope.Session, (p, l, v) => Minimum(v, 0, 2, l.ErrorRecoveryLevel, n => p.ErrorRecoveryLevel = n)),
        ["InitiatorAlias"] = new(KeyScope.Anywhere, (p, _, v) => Declared(() => p.InitiatorAlias = v.Length <= 255 ? v : v[..255])),
        ["iSCSIProtocolLevel"] = new(KeyScope.Session, (_, _, v) => Minimum(v, 0, 31, 1, _ => { })),
        ["TaskReporting"] = new(KeyScope.Session, (_, _, v) => v.Split(',').Contains("RFC3720") ? "RFC3720" : Reject),
        // Markers are obsolete; old initiators still ask, and must not hear NotUnderstood (RFC 7143 13.25).
        ["IFMarker"] = new(KeyScope.Login, (_, _, _) => "No"),
        ["OFMarker"] = new(KeyScope.Login, (_, _, _) => "No"),
        ["IFMarkInt"] = new(KeyScope.Login, (_, _, _) => Reject),
        ["OFMarkInt"] = new(KeyScope.Login, (_, _, _) => Reject),
    };

    /// <summary>Whether a value ends the negotiation of its key, as an answer does: nothing is answered to it (RFC 7143 6.2).</summary>
    public static bool IsAnswer(string value) => value is NotUnderstood or Reject or Irrelevant;

    /// <summary>Keys that only a target sends: from an initiator they are an answer to what the target declared.</summary>
    public static bool IsOfTarget(string key) => key is "TargetAlias" or "TargetAddress" or "TargetPortalGroupTag";

    /// <summary>
    /// The pairs in the order in which they are answered. MaxBurstLength comes first, because the answer to FirstBurstLength must not
    /// exceed it (RFC 7143 13.14).
    /// </summary>
    public static IEnumerable<KeyValuePair<string, string>> Ordered(IEnumerable<KeyValuePair<string, string>> pairs) =>
        pairs.OrderBy(p => p.Key == MaxBurstLength ? 0 : 1);

    /// <summary>A length below a first burst that was agreed on before is refused: what was agreed on cannot be taken back.</summary>
    private static string MaxBurst(NegotiatedParameters p, IscsiLimits limits, string offer) => Minimum(
        offer, p.FirstBurstIsAgreed ? p.FirstBurstLength : 512, 0xFF_FFFF, limits.MaxBurstLength, n => p.MaxBurstLength = n);

    private static string FirstBurst(NegotiatedParameters p, IscsiLimits limits, string offer) => Minimum(
        offer, 512, 0xFF_FFFF, Math.Min(limits.FirstBurstLength, Math.Min(limits.MaxBurstLength, p.MaxBurstLength)),
        n => (p.FirstBurstLength, p.FirstBurstIsAgreed) = (n, true));

    private static string? Declared(Action take)
    {
        take();
        return null;
    }

    private static string Digest(string offer, Action<bool> take)
    {
        // The first of the offered methods that both know (RFC 7143 6.2.1).
        foreach (string method in offer.Split(','))
        {
            if (method is not ("CRC32C" or "None")) continue;
            take(method == "CRC32C");
            return method;
        }
        return Reject;
    }

    private static string Minimum(string offer, int low, int high, int mine, Action<int> take) =>
        Number(offer, low, high, n => Math.Min(n, mine), take);

    private static string Maximum(string offer, int low, int high, int mine, Action<int> take) =>
        Number(offer, low, high, n => Math.Max(n, mine), take);

    private static string Number(string offer, int low, int high, Func<int, int> agree, Action<int> take)
    {
        if (!TextKeys.TryNumber(offer, low, high, out int value)) return Reject;
        int agreed = agree(value);
        take(agreed);
        return agreed.ToString(CultureInfo.InvariantCulture);
    }

    private static string And(string offer, bool mine, Action<bool> take) => Boolean(offer, b => b && mine, take);

    private static string Or(string offer, bool mine, Action<bool> take) => Boolean(offer, b => b || mine, take);

    private static string Boolean(string offer, Func<bool, bool> agree, Action<bool> take)
    {
        if (offer is not ("Yes" or "No")) return Reject;
        bool agreed = agree(offer == "Yes");
        take(agreed);
        return agreed ? "Yes" : "No";
    }
}
