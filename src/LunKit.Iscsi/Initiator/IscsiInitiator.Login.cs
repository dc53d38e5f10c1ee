using System.Globalization;
using System.Security.Cryptography;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Initiator;

/// <summary>The login phase, with CHAP in both directions.</summary>
public sealed partial class IscsiInitiator
{
    private async Task LoginAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var first = new List<KeyValuePair<string, string>>
        {
            new("InitiatorName", _options.InitiatorName),
            new("SessionType", _options.TargetName is null ? "Discovery" : "Normal"),
        };
        if (_options.TargetName is { } name) first.Add(new("TargetName", name));
        bool secure = _options.Chap is not null;
        if (secure)
        {
            first.Add(new("AuthMethod", "CHAP"));
            await AuthenticateAsync(_options.Chap!, first).ConfigureAwait(false);
            first = [];
        }
        var (_, answer) = await ExchangeAsync(true, LoginStage.Operational, LoginStage.FullFeature, [.. first, .. Operational()]).ConfigureAwait(false);
        Take(answer);
        _fullFeature = true;
    }

    private IEnumerable<KeyValuePair<string, string>> Operational()
    {
        var keys = new Dictionary<string, string>
        {
            ["HeaderDigest"] = _options.HeaderDigest ? "CRC32C,None" : "None",
            ["DataDigest"] = _options.DataDigest ? "CRC32C,None" : "None",
            ["MaxRecvDataSegmentLength"] = _options.MaxRecvDataSegmentLength.ToString(CultureInfo.InvariantCulture),
        };
        // The keys of a session are for its first connection only.
        if (_options.SessionHandle == 0 && _options.TargetName is not null)
        {
            keys["InitialR2T"] = _options.InitialR2T ? "Yes" : "No";
            keys["ImmediateData"] = _options.ImmediateData ? "Yes" : "No";
            keys["MaxBurstLength"] = "1048576";
            keys["FirstBurstLength"] = "262144";
            keys["MaxOutstandingR2T"] = "4";
            keys["MaxConnections"] = _options.MaxConnections.ToString(CultureInfo.InvariantCulture);
            keys["ErrorRecoveryLevel"] = "0";
            keys["DefaultTime2Wait"] = "2";
            keys["DefaultTime2Retain"] = "0";
        }
        foreach (var (key, value) in _options.ExtraKeys) keys[key] = value;
        return keys;
    }

    private async Task AuthenticateAsync(Targets.ChapCredential own, List<KeyValuePair<string, string>> first)
    {
        await ExchangeAsync(false, LoginStage.Security, LoginStage.Security, first).ConfigureAwait(false);
        string algorithms = string.Join(',', _options.ChapAlgorithms.Where(Chap.IsSupported));
        var (_, offer) = await ExchangeAsync(false, LoginStage.Security, LoginStage.Security, [new("CHAP_A", algorithms)]).ConfigureAwait(false);
        if (!TextKeys.TryNumber(offer.GetValueOrDefault("CHAP_A", ""), 0, 255, out int algorithm) || !_options.ChapAlgorithms.Contains(algorithm) ||
            !TextKeys.TryNumber(offer.GetValueOrDefault("CHAP_I", ""), 0, 255, out int identifier)) throw new IOException("the target's CHAP_A or CHAP_I is malformed");
        var challenge = TextKeys.ParseBinary(offer.GetValueOrDefault("CHAP_C", ""), Chap.MaxChallengeBytes) ?? throw new IOException("the target's CHAP_C is malformed");
        var keys = new List<KeyValuePair<string, string>>
        {
            new("CHAP_N", own.Name),
            new("CHAP_R", TextKeys.FormatBinary(Chap.Respond(algorithm, (byte)identifier, own.Secret, challenge))),
        };
        var counter = RandomNumberGenerator.GetBytes(Chap.ChallengeBytes);
        byte counterId = RandomNumberGenerator.GetBytes(1)[0];
        if (_options.MutualChap is not null)
        {
            keys.Add(new("CHAP_I", counterId.ToString(CultureInfo.InvariantCulture)));
            keys.Add(new("CHAP_C", TextKeys.FormatBinary(counter)));
        }
        var (_, answer) = await ExchangeAsync(true, LoginStage.Security, LoginStage.Operational, keys).ConfigureAwait(false);
        if (_options.MutualChap is not { } theirs) return;
        var proof = TextKeys.ParseBinary(answer.GetValueOrDefault("CHAP_R", ""), 64) ?? [];
        if (answer.GetValueOrDefault("CHAP_N") != theirs.Name ||
            !CryptographicOperations.FixedTimeEquals(proof, Chap.Respond(algorithm, counterId, theirs.Secret, counter)))
            throw new IscsiLoginException(0x0201, "the target does not know the secret of mutual CHAP");
    }

    internal async Task<(byte[] Header, Dictionary<string, string> Keys)> ExchangeAsync(
        bool transit, LoginStage current, LoginStage next, IEnumerable<KeyValuePair<string, string>> keys)
    {
        var text = TextKeys.Format(keys);
        var pdu = new byte[Bhs.Length];
        LoginPdu.WriteRequest(pdu, transit, false, current, next, _options.Isid, SessionHandle != 0 ? SessionHandle : _options.SessionHandle,
            (uint)_nextTag, _options.ConnectionId, text.Length);
        await SendLockedAsync(pdu, text, numbered: false).ConfigureAwait(false);
        var (header, data) = await ReceiveAsync().ConfigureAwait(false);
        if (new Bhs(header).Opcode != PduOpcode.LoginResponse) throw new IOException("the target does not answer with a login response");
        _expStatSn = new Bhs(header).StatSn + 1;
        var answer = TextKeys.Parse(data).ToDictionary();
        ushort status = new LoginPdu(header).Status;
        if (status != 0)
            throw new IscsiLoginException(status, $"login refused with status {status:x4} ({(LoginStatus)status})", answer.GetValueOrDefault("TargetAddress"));
        if (new LoginPdu(header).Transit) SessionHandle = new LoginPdu(header).Tsih;
        return (header, answer);
    }

    private void Take(Dictionary<string, string> answer)
    {
        int Number(string key, int otherwise) => answer.TryGetValue(key, out var value) && TextKeys.TryNumber(value, 0, int.MaxValue, out int n) ? n : otherwise;
        _parameters.HeaderDigest = answer.GetValueOrDefault("HeaderDigest") == "CRC32C";
        _parameters.DataDigest = answer.GetValueOrDefault("DataDigest") == "CRC32C";
        _parameters.PeerMaxRecvDataSegmentLength = Number("MaxRecvDataSegmentLength", 8192);
        _parameters.MaxBurstLength = Number("MaxBurstLength", 262144);
        _parameters.FirstBurstLength = Number("FirstBurstLength", 65536);
        _parameters.MaxConnections = Number("MaxConnections", 1);
        _parameters.InitialR2T = answer.GetValueOrDefault("InitialR2T", "Yes") == "Yes";
        _parameters.ImmediateData = answer.GetValueOrDefault("ImmediateData", "Yes") == "Yes";
    }
}
