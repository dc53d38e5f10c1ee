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
/// for authentication when the target does, and grants full feature phase only when everything is settled.
/// </summary>
internal sealed class LoginNegotiation(ITargetDirectory targets, IscsiLimits limits, int portalGroupTag)
{
    private readonly HashSet<string> _seen = new(StringComparer.Ordinal);
    private LoginStage? _stage;
    private bool _started;
    private bool _authenticated;
    private bool _declared;
    private ChapExchange? _chap;

    public NegotiatedParameters Parameters { get; } = new();

    /// <summary>Whether this is the first connection of a session, which alone negotiates the session's own keys.</summary>
    public bool IsLeading { get; set; } = true;

    public Target? Target { get; private set; }

    public NodeAcl? Acl { get; private set; }

    /// <summary>The CHAP name that was proven, or null.</summary>
    public string? User => _chap?.User;

    /// <summary>Takes one complete request.</summary>
    public LoginAnswer Step(bool transit, LoginStage current, LoginStage next, List<KeyValuePair<string, string>> text)
    {
        if (current is not (LoginStage.Security or LoginStage.Operational) || (_stage is { } stage && current < stage))
            return Failed(LoginStatus.InitiatorError, "the login stage goes backward or does not exist");
        if (transit && next <= current) return Failed(LoginStatus.InitiatorError, "the next stage is not after the current one");
        var keys = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in text)
            if (!keys.TryAdd(key, value)) return Failed(LoginStatus.InitiatorError, $"{key} stands twice in one request");
        var answer = new List<KeyValuePair<string, string>>();
        if (!_started && Begin(keys, answer) is { } refusal) return refusal;
        _stage = current;
        var result = current == LoginStage.Security ? Security(keys, answer) : Operational(keys, answer);
        if (result is { } failed) return failed;
        bool ready = transit && (current == LoginStage.Operational || _authenticated);
        if (ready && next == LoginStage.FullFeature && Finish() is { } unfinished) return unfinished;
        if (ready) _stage = next;
        return new(LoginStatus.Success, ready, next, answer);
    }

    /// <summary>The first request says who and what for (RFC 7143 6.3.1).</summary>
    private LoginAnswer? Begin(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
    {
        _started = true;
        if (!keys.TryGetValue("InitiatorName", out var initiator) || initiator.Length is 0 or > 223)
            return Failed(LoginStatus.MissingParameter, "InitiatorName is missing, or is not 1 to 223 bytes");
        Parameters.InitiatorName = initiator;
        Parameters.TargetName = keys.GetValueOrDefault("TargetName");
        string type = keys.GetValueOrDefault("SessionType", "Normal");
        if (type is not ("Normal" or "Discovery")) return Failed(LoginStatus.SessionTypeNotSupported, $"SessionType {type}");
        Parameters.IsDiscovery = type == "Discovery";
        IReadOnlyList<ChapCredential> accepted = targets.DiscoveryChap;
        if (!Parameters.IsDiscovery)
        {
            if (Parameters.TargetName is not { } name) return Failed(LoginStatus.MissingParameter, "TargetName is missing");
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
            accepted = Acl.Chap is { } own ? [own] : Target.Chap;
        }
        _authenticated = accepted.Count == 0;
        if (!_authenticated) _chap = new ChapExchange(accepted, Target?.MutualChap);
        return null;
    }

    private LoginAnswer? Security(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
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
        }
        if (_chap is not null && !_authenticated)
        {
            if (!_chap.Step(keys, answer, out string reason)) return Failed(LoginStatus.AuthenticationFailure, reason);
            _authenticated = _chap.IsDone;
        }
        // Operational keys may come with the security ones; they are answered in their own stage or here (RFC 7143 6.3.2).
        Negotiate(keys, answer);
        return null;
    }

    private LoginAnswer? Operational(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
    {
        if (!_authenticated) return Failed(LoginStatus.AuthenticationFailure, "the initiator skips the security stage, the target asks for CHAP");
        Negotiate(keys, answer);
        if (_declared) return null;
        _declared = true;
        answer.Add(new("MaxRecvDataSegmentLength", limits.MaxRecvDataSegmentLength.ToString(CultureInfo.InvariantCulture)));
        return null;
    }

    private void Negotiate(Dictionary<string, string> keys, List<KeyValuePair<string, string>> answer)
    {
        foreach (var (key, value) in keys)
        {
            if (key is "InitiatorName" or "TargetName" or "SessionType" or "AuthMethod" || key.StartsWith("CHAP_", StringComparison.Ordinal)) continue;
            if (!NegotiableKeys.Table.TryGetValue(key, out var negotiable))
            {
                answer.Add(new(key, NegotiableKeys.NotUnderstood));
                continue;
            }
            if (!IsLeading && (negotiable.Scope & KeyScope.LeadingOnly) != 0)
            {
                answer.Add(new(key, NegotiableKeys.Irrelevant));
                continue;
            }
            // A key is negotiated once (RFC 7143 6.2); a repeated one gets no second chance.
            string? reply = _seen.Add(key) ? negotiable.Answer(Parameters, limits, value) : NegotiableKeys.Reject;
            if (reply is not null) answer.Add(new(key, reply));
        }
    }

    private LoginAnswer? Finish()
    {
        if (!_authenticated) return Failed(LoginStatus.AuthenticationFailure, "full feature phase was asked for without authentication");
        // FirstBurstLength never exceeds MaxBurstLength (RFC 7143 13.14).
        Parameters.FirstBurstLength = Math.Min(Parameters.FirstBurstLength, Parameters.MaxBurstLength);
        return null;
    }

    private static LoginAnswer Failed(LoginStatus status, string reason) => new(status, false, LoginStage.Security, [], reason);
}
