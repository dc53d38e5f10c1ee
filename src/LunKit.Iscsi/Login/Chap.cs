using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using LunKit.Targets;

namespace LunKit.Iscsi.Login;

/// <summary>The digests of CHAP (RFC 1994) by their IANA numbers: 5 MD5, 6 SHA1, 7 SHA-256, 8 SHA3-256.</summary>
internal static class Chap
{
    public const int ChallengeBytes = 32, MaxChallengeBytes = 1024;

    /// <summary>Whether this machine can compute an algorithm; SHA-3 depends on its OpenSSL.</summary>
    public static bool IsSupported(int algorithm) => algorithm is 5 or 6 or 7 || algorithm == 8 && SHA3_256.IsSupported;

    /// <summary>The first algorithm of a CHAP_A list that is supported, or 0.</summary>
    public static int Choose(string list)
    {
        foreach (string item in list.Split(','))
            if (TextKeys.TryNumber(item, 0, 255, out int algorithm) && IsSupported(algorithm)) return algorithm;
        return 0;
    }

    /// <summary>CHAP_R: the digest of identifier, secret and challenge.</summary>
    public static byte[] Respond(int algorithm, byte identifier, string secret, ReadOnlySpan<byte> challenge)
    {
        var secretBytes = Encoding.UTF8.GetBytes(secret);
        var message = new byte[1 + secretBytes.Length + challenge.Length];
        message[0] = identifier;
        secretBytes.CopyTo(message, 1);
        challenge.CopyTo(message.AsSpan(1 + secretBytes.Length));
        return algorithm switch
        {
            5 => MD5.HashData(message),
            6 => SHA1.HashData(message),
            7 => SHA256.HashData(message),
            8 => SHA3_256.HashData(message),
            _ => throw new ArgumentOutOfRangeException(nameof(algorithm)),
        };
    }
}

/// <summary>
/// The target's side of one CHAP exchange (RFC 7143 12.1.3): challenges, checks the answer in constant time, and answers a
/// challenge of the initiator, but never its own one reflected.
/// </summary>
internal sealed class ChapExchange(IReadOnlyList<ChapCredential> accepted, ChapCredential? own)
{
    private readonly byte[] _challenge = RandomNumberGenerator.GetBytes(Chap.ChallengeBytes);
    private readonly byte _identifier = RandomNumberGenerator.GetBytes(1)[0];
    private int _algorithm;

    public bool IsDone { get; private set; }

    public string? User { get; private set; }

    /// <summary>Takes the keys of one round and adds the answer; false: authentication failed, for <paramref name="reason"/>.</summary>
    public bool Step(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer, out string reason)
    {
        reason = "";
        if (_algorithm == 0)
        {
            if (!keys.TryGetValue("CHAP_A", out var offer))
            {
                // It may come in the request after the one that chose CHAP, but not later.
                bool hasJustChosen = keys.ContainsKey("AuthMethod");
                reason = hasJustChosen ? "" : "CHAP_A is missing";
                return hasJustChosen;
            }
            _algorithm = Chap.Choose(offer);
            if (_algorithm == 0)
            {
                reason = $"no CHAP algorithm of '{offer}' is supported";
                return false;
            }
            answer.Add(new("CHAP_A", _algorithm.ToString(CultureInfo.InvariantCulture)));
            answer.Add(new("CHAP_I", _identifier.ToString(CultureInfo.InvariantCulture)));
            answer.Add(new("CHAP_C", TextKeys.FormatBinary(_challenge)));
            return true;
        }
        return Check(keys, answer, out reason);
    }

    private bool Check(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer, out string reason)
    {
        if (!keys.TryGetValue("CHAP_N", out var name) || !keys.TryGetValue("CHAP_R", out var text) ||
            TextKeys.ParseBinary(text, 64) is not { } response)
        {
            reason = "CHAP_N or CHAP_R is missing or malformed";
            return false;
        }
        // An unknown name costs the same time as a wrong secret, and gets the same answer.
        var credential = accepted.FirstOrDefault(c => c.Name == name);
        var expected = Chap.Respond(_algorithm, _identifier, credential?.Secret ?? "", _challenge);
        if (!CryptographicOperations.FixedTimeEquals(expected, response) || credential is null)
        {
            reason = $"CHAP user '{name}' is unknown or has another secret";
            return false;
        }
        User = name;
        IsDone = true;
        reason = "";
        return !keys.ContainsKey("CHAP_C") && !keys.ContainsKey("CHAP_I") || Answer(keys, credential, answer, out reason);
    }

    private bool Answer(
        Dictionary<string, string> keys, ChapCredential initiator, List<KeyValuePair<string, string>> answer, out string reason)
    {
        IsDone = false;
        reason = "";
        if (own is null) reason = "the initiator asks for mutual CHAP, which is not configured";
        else if (own.Secret == initiator.Secret) reason = "both directions of CHAP have the same secret, which RFC 7143 12.1.3 forbids";
        else if (!keys.TryGetValue("CHAP_I", out var id) || !TextKeys.TryNumber(id, 0, 255, out int identifier))
            reason = "CHAP_I is missing or not 0 to 255";
        else if (!keys.TryGetValue("CHAP_C", out var text) ||
            TextKeys.ParseBinary(text, Chap.MaxChallengeBytes) is not { Length: > 0 } challenge)
        {
            reason = "CHAP_C is missing or malformed";
        }
        else if (challenge.AsSpan().SequenceEqual(_challenge)) reason = "the initiator reflects the target's own challenge";
        else
        {
            answer.Add(new("CHAP_N", own.Name));
            answer.Add(new("CHAP_R", TextKeys.FormatBinary(Chap.Respond(_algorithm, (byte)identifier, own.Secret, challenge))));
            IsDone = true;
            return true;
        }
        return false;
    }
}
