using System.Globalization;
using LunKit.Iscsi.Pdus;
using LunKit.Targets;

namespace LunKit.Iscsi.Login;

/// <summary>The targets that a login may name.</summary>
internal interface ITargetDirectory
{
    Target? Find(string name);

    /// <summary>Credentials for discovery sessions; none: no authentication.</summary>
    IReadOnlyList<ChapCredential> DiscoveryChap { get; }
}

/// <summary>What to answer to one login request.</summary>
internal readonly record struct LoginAnswer(
    LoginStatus Status, bool Transit, LoginStage Next, IReadOnlyList<KeyValuePair<string, string>> Keys, string Reason = "");

/// <summary>
/// The login phase of one connection (RFC 7143 6.3) as a state machine without I/O: text in, text out. It goes forward only, asks
/// for authentication when the target does, and grants full feature phase only when everything is settled. What an initiator must not do
/// ends it with the status for that; so does a login that makes no progress.
/// </summary>
internal sealed class LoginNegotiation(ITargetDirectory targets, IscsiLimits limits, int portalGroupTag)
{
    private const int MaxReason = 256;

    private readonly Dictionary<string, string> _seen = new(StringComparer.Ordinal);
    private IReadOnlyList<ChapCredential> _accepted = [];
    private LoginStage? _stage;
    private bool _started;
    private bool _authenticated;
    private bool _methodIsChosen;
    private bool _declared;
    private bool _isIdle;
    private ChapExchange? _chap;

    public NegotiatedParameters Parameters { get; } = new();

    /// <summary>Whether this is the first connection of a session, which alone negotiates the session's own keys.</summary>
    public bool IsLeading { get; set; } = true;

    public Target? Target { get; private set; }

    public NodeAcl? Acl { get; private set; }

    /// <summary>The CHAP name that was proven, or null.</summary>
    public string? User => _chap?.User;

    /// <summary>Whether a user of CHAP (null: none) could log in where this login does.</summary>
    public bool Accepts(string? user) => user is null ? _accepted.Count == 0 : _accepted.Any(c => c.Name == user);

    /// <summary>Takes one complete request.</summary>
    public LoginAnswer Step(bool transit, LoginStage current, LoginStage next, List<KeyValuePair<string, string>> text)
    {
        if (current is not (LoginStage.Security or LoginStage.Operational) || (_stage is { } stage && current < stage))
            return Failed(LoginStatus.InitiatorError, "the login stage goes backward or does not exist");
        if (transit && (next <= current || next is not (LoginStage.Operational or LoginStage.FullFeature)))
            return Failed(LoginStatus.InitiatorError, "the next stage is not after the current one");
        var keys = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in text)
            if (!keys.TryAdd(key, value)) return Failed(LoginStatus.InitiatorError, $"{key} stands twice in one request");
        var answer = new List<KeyValuePair<string, string>>();
        if (!_started && Begin(keys, answer) is { } refusal) return refusal;
        if (!TakeNews(keys, out string? repeated)) return Failed(LoginStatus.InitiatorError, $"{repeated} was negotiated or declared before");
        bool skipsStage = _stage is { } before && before != current;
        _stage = current;
        var result = current == LoginStage.Security ? Security(transit, keys, answer) : Operational(keys, answer);
        if (result is { } failed) return failed;
        if (skipsStage) return Failed(LoginStatus.InitiatorError, "the login stage changes without a transition");
        bool ready = transit && (current == LoginStage.Operational || _authenticated);
        bool idles = keys.Count == 0 && answer.Count == 0 && !ready;
        if (idles && _isIdle) return Failed(_authenticated ? LoginStatus.InitiatorError : LoginStatus.AuthenticationFailure, "the login makes no progress");
        _isIdle = idles;
        if (ready && next == LoginStage.FullFeature && !_authenticated)
            return Failed(LoginStatus.AuthenticationFailure, "full feature phase was asked for without authentication");
        if (ready) _stage = next;
        return new(LoginStatus.Success, ready, next, answer);
    }

    /// <summary>A login that is refused; the text of the reason, which may have what the peer sent in it, is kept short.</summary>
    public static LoginAnswer Failed(LoginStatus status, string reason) =>
        new(status, false, LoginStage.Security, [], reason.Length <= MaxReason ? reason : $"{reason[..MaxReason]}...");

    /// <summary>
    /// Leaves only what a request says for the first time: no answers to what the target declared, and no declarations that stood in an
    /// earlier request already, as some initiators send them in each stage. Any other repetition is an error (RFC 7143 6.3).
    /// </summary>
    private bool TakeNews(Dictionary<string, string> keys, out string? repeated)
    {
        repeated = null;
        foreach (var (key, value) in keys)
        {
            if (NegotiableKeys.IsAnswer(value) || NegotiableKeys.IsOfTarget(key))
            {
                keys.Remove(key);
            }
            else if (!_seen.TryAdd(key, value))
            {
                bool declares = key is "InitiatorName" or "InitiatorAlias" or "TargetName" or "SessionType" or "MaxRecvDataSegmentLength";
                if (!declares || _seen[key] != value) repeated = key;
                keys.Remove(key);
            }
        }
        return repeated is null;
    }

    /// <summary>The first request says who and what for (RFC 7143 6.3.1).</summary>
    private LoginAnswer? Begin(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
    {
        _started = true;
        if (!keys.TryGetValue("InitiatorName", out var given) || IscsiName.Normalize(given) is not { } initiator)
            return Failed(LoginStatus.MissingParameter, "InitiatorName is missing, or is not 1 to 223 bytes of a name");
        Parameters.InitiatorName = initiator;
        Parameters.TargetName = keys.GetValueOrDefault("TargetName");
        string type = keys.GetValueOrDefault("SessionType", "Normal");
        if (type is not ("Normal" or "Discovery")) return Failed(LoginStatus.SessionTypeNotSupported, $"SessionType {type}");
        Parameters.IsDiscovery = type == "Discovery";
        _accepted = targets.DiscoveryChap;
        if (!Parameters.IsDiscovery)
        {
            if (Parameters.TargetName is not { Length: > 0 } name) return Failed(LoginStatus.MissingParameter, "TargetName is missing");
            Target = targets.Find(name);
            if (Target is null) return Failed(LoginStatus.NotFound, $"no target {name}");
            Acl = Target.Admit(initiator);
            if (Acl is null) return Failed(LoginStatus.AuthorizationFailure, $"{initiator} is not on the allow list of {name}");
            if (Target.RedirectTo is { } address)
            {
                answer.Add(new("TargetAddress", address));
                var status = Target.RedirectPermanently ? LoginStatus.MovedPermanently : LoginStatus.MovedTemporarily;
                return new(status, false, LoginStage.Security, answer, $"redirected to {address}");
            }
            answer.Add(new("TargetPortalGroupTag", portalGroupTag.ToString(CultureInfo.InvariantCulture)));
            if (Target.Alias.Length > 0) answer.Add(new("TargetAlias", Target.Alias));
            _accepted = Acl.Chap is { } own ? [own] : Target.Chap;
        }
        _authenticated = _accepted.Count == 0;
        if (!_authenticated) _chap = new ChapExchange(_accepted, Target?.MutualChap);
        return null;
    }

    private LoginAnswer? Security(bool transit, Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
    {
        if (keys.TryGetValue("AuthMethod", out var offer))
        {
            string[] methods = offer.Split(',');
            string wanted = _chap is null ? "None" : "CHAP";
            if (!methods.Contains(wanted))
            {
                return Failed(LoginStatus.AuthenticationFailure, _chap is null
                    ? $"the initiator insists on {offer}, but no credential is configured"
                    : $"the target asks for CHAP, the initiator offers {offer}");
            }
            answer.Add(new("AuthMethod", wanted));
            _methodIsChosen = true;
        }
        bool speaksChap = keys.Keys.Any(IsChap);
        if (_authenticated)
        {
            if (speaksChap) return Failed(LoginStatus.InitiatorError, "CHAP keys outside of a CHAP exchange");
        }
        else if (_methodIsChosen)
        {
            if (!_chap!.Step(keys, answer, out string reason)) return Failed(LoginStatus.AuthenticationFailure, reason);
            _authenticated = _chap.IsDone;
        }
        else if (transit || speaksChap)
        {
            return Failed(LoginStatus.AuthenticationFailure, "the target asks for CHAP, the initiator offers no AuthMethod");
        }
        // Operational keys may come with the security ones; they are answered in their own stage or here (RFC 7143 6.3.2).
        return Negotiate(keys, answer);
    }

    private LoginAnswer? Operational(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
    {
        if (!_authenticated) return Failed(LoginStatus.AuthenticationFailure, "the initiator skips the security stage, the target asks for CHAP");
        if (keys.Keys.FirstOrDefault(k => k == "AuthMethod" || IsChap(k)) is { } late)
            return Failed(LoginStatus.InitiatorError, $"{late} after the security stage");
        if (Negotiate(keys, answer) is { } failed) return failed;
        if (_declared) return null;
        _declared = true;
        answer.Add(new("MaxRecvDataSegmentLength", limits.MaxRecvDataSegmentLength.ToString(CultureInfo.InvariantCulture)));
        return null;
    }

    private LoginAnswer? Negotiate(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
    {
        foreach (var (key, value) in NegotiableKeys.Ordered(keys))
        {
            if (key is "InitiatorName" or "TargetName" or "SessionType" or "AuthMethod" || IsChap(key)) continue;
            if (key == "SendTargets") return Failed(LoginStatus.InitiatorError, "SendTargets before full feature phase");
            if (!NegotiableKeys.Table.TryGetValue(key, out var negotiable))
            {
                answer.Add(new(key, NegotiableKeys.NotUnderstood));
                continue;
            }
            bool irrelevant = !IsLeading && (negotiable.Scope & KeyScope.LeadingOnly) != 0;
            string? reply = irrelevant ? NegotiableKeys.Irrelevant : negotiable.Answer(Parameters, limits, value);
            if (reply is not null) answer.Add(new(key, reply));
        }
        return null;
    }

    private static bool IsChap(string key) => key.StartsWith("CHAP_", StringComparison.Ordinal);
}
