using System.Globalization;

namespace LunKit.Iscsi.Login;

/// <summary>Why a key may stand where it stands (RFC 7143 13).</summary>
[Flags]
internal enum KeyScope
{
    Login = 1, FullFeature = 2, LeadingOnly = 4, Anywhere = Login | FullFeature,
}

/// <summary>One key: where it may be used, and what takes the offer and gives the answer (null: declared, no answer).</summary>
internal sealed record NegotiableKey(KeyScope Scope, Func<NegotiatedParameters, IscsiLimits, string, string?> Answer);

/// <summary>The operational keys of RFC 7143 13, as a table. "Reject" answers a value that the key cannot have.</summary>
internal static class NegotiableKeys
{
    public const string Reject = "Reject", NotUnderstood = "NotUnderstood", Irrelevant = "Irrelevant";

    public static readonly IReadOnlyDictionary<string, NegotiableKey> Table = new Dictionary<string, NegotiableKey>(StringComparer.Ordinal)
    {
        ["HeaderDigest"] = new(KeyScope.Login, (p, _, v) => Digest(v, on => p.HeaderDigest = on)),
        ["DataDigest"] = new(KeyScope.Login, (p, _, v) => Digest(v, on => p.DataDigest = on)),
        ["MaxRecvDataSegmentLength"] = new(KeyScope.Anywhere, (p, _, v) =>
            TryNumber(v, 512, 0xFF_FFFF, out int n) ? Declared(() => p.PeerMaxRecvDataSegmentLength = n) : Reject),
        ["MaxConnections"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, l, v) =>
            Minimum(v, 1, 65535, l.MaxConnectionsPerSession, n => p.MaxConnections = n)),
        ["InitialR2T"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, _, v) => Or(v, mine: false, b => p.InitialR2T = b)),
        ["ImmediateData"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, _, v) => And(v, mine: true, b => p.ImmediateData = b)),
        ["MaxBurstLength"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, l, v) =>
            Minimum(v, 512, 0xFF_FFFF, l.MaxBurstLength, n => p.MaxBurstLength = n)),
        ["FirstBurstLength"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, l, v) =>
            Minimum(v, 512, 0xFF_FFFF, l.FirstBurstLength, n => p.FirstBurstLength = n)),
        ["MaxOutstandingR2T"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, l, v) =>
            Minimum(v, 1, 65535, l.MaxOutstandingR2T, n => p.MaxOutstandingR2T = n)),
        // Data in another order than its offsets is never sent and never accepted: both are answered Yes (OR).
        ["DataPDUInOrder"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, _, v) => Or(v, mine: true, b => p.DataPduInOrder = b)),
        ["DataSequenceInOrder"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, _, v) => Or(v, mine: true, b => p.DataSequenceInOrder = b)),
        ["DefaultTime2Wait"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, _, v) => Maximum(v, 0, 3600, 2, n => p.DefaultTime2Wait = n)),
        ["DefaultTime2Retain"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, l, v) =>
            Minimum(v, 0, 3600, l.Time2RetainSeconds, n => p.DefaultTime2Retain = n)),
        ["ErrorRecoveryLevel"] = new(KeyScope.Login | KeyScope.LeadingOnly, (p, l, v) =>
            Minimum(v, 0, 2, l.ErrorRecoveryLevel, n => p.ErrorRecoveryLevel = n)),
        ["InitiatorAlias"] = new(KeyScope.Anywhere, (p, _, v) => Declared(() => p.InitiatorAlias = v.Length <= 255 ? v : v[..255])),
        ["iSCSIProtocolLevel"] = new(KeyScope.Login, (_, _, v) => Minimum(v, 0, 31, 1, _ => { })),
        ["TaskReporting"] = new(KeyScope.Login, (_, _, v) => v.Split(',').Contains("RFC3720") ? "RFC3720" : Reject),
        // Markers are obsolete (RFC 7143 13.25); old initiators still ask.
        ["IFMarker"] = new(KeyScope.Login, (_, _, _) => "No"),
        ["OFMarker"] = new(KeyScope.Login, (_, _, _) => "No"),
    };

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

    private static string Minimum(string offer, int low, int high, int mine, Action<int> take) => Number(offer, low, high, n => Math.Min(n, mine), take);

    private static string Maximum(string offer, int low, int high, int mine, Action<int> take) => Number(offer, low, high, n => Math.Max(n, mine), take);

    private static string Number(string offer, int low, int high, Func<int, int> agree, Action<int> take)
    {
        if (!TryNumber(offer, low, high, out int value)) return Reject;
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

    private static bool TryNumber(string text, int low, int high, out int value)
    {
        bool hex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        var style = hex ? NumberStyles.AllowHexSpecifier : NumberStyles.None;
        return int.TryParse(hex ? text.AsSpan(2) : text, style, CultureInfo.InvariantCulture, out value) && value >= low && value <= high;
    }
}
