using System.Text;

namespace LunKit.Iscsi.Login;

/// <summary>iSCSI names (RFC 7143 4.2.7): compared, and given to the SCSI layer, in lower case.</summary>
internal static class IscsiName
{
    private const int MaxBytes = 223;

    /// <summary>
    /// The name in the form in which names are compared, or null when it cannot be one. Of the rules for the parts of a name only those are
    /// asked for on which something here depends: its length, and that it is one word without a comma, which ends a name in lists and in
    /// ports.
    /// </summary>
    public static string? Normalize(string name)
    {
        foreach (char c in name)
            if (char.IsWhiteSpace(c) || char.IsControl(c) || c is ',' or '=') return null;
        string folded = name.ToLowerInvariant();
        return Encoding.UTF8.GetByteCount(folded) is >= 1 and <= MaxBytes ? folded : null;
    }

    /// <summary>Whether a text looks like the name of a node: one of the three types, and something after it.</summary>
    public static bool HasType(string name) => name.Length > 4 && Normalize(name) is { } folded &&
        (folded.StartsWith("iqn.", StringComparison.Ordinal) || folded.StartsWith("eui.", StringComparison.Ordinal) ||
        folded.StartsWith("naa.", StringComparison.Ordinal));
}
