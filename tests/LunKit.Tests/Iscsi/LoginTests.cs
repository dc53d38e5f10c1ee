using System.Text;
using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

public class LoginTests
{
    private sealed class Directory(params Target[] targets) : ITargetDirectory
    {
        public Target? Find(string name) => targets.FirstOrDefault(t => t.Name == name);
        public IReadOnlyList<ChapCredential> DiscoveryChap => [];
    }

    private static readonly Target s_open = new() { Name = "iqn.t:open", Luns = new Dictionary<int, LunKit.LogicalUnits.LogicalUnit>() };
    private static readonly Target s_closed = s_open with { Name = "iqn.t:closed", Chap = [new("alice", "0123456789ab")] };

    private static LoginNegotiation Negotiation() => new(new Directory(s_open, s_closed), new IscsiLimits(), 1);

    private static List<KeyValuePair<string, string>> Keys(params string[] pairs) => [.. pairs.Select(p => KeyValuePair.Create(p[..p.IndexOf('=')], p[(p.IndexOf('=') + 1)..]))];

    private static string Value(LoginAnswer answer, string key) => answer.Keys.Single(k => k.Key == key).Value;

    // Offer, answer (RFC 7143 13).
    [Theory]
    [InlineData("HeaderDigest=CRC32C,None", "CRC32C")]
    [InlineData("HeaderDigest=None,CRC32C", "None")]
    [InlineData("HeaderDigest=X-other", "Reject")]
    [InlineData("MaxBurstLength=65536", "65536")]
    [InlineData("MaxBurstLength=16777215", "1048576")]
    [InlineData("MaxBurstLength=0x10000", "65536")]
    [InlineData("MaxBurstLength=100", "Reject")]
    [InlineData("MaxBurstLength=abc", "Reject")]
    [InlineData("FirstBurstLength=512", "512")]
    [InlineData("InitialR2T=No", "No")]
    [InlineData("InitialR2T=Yes", "Yes")]
    [InlineData("InitialR2T=Maybe", "Reject")]
    [InlineData("ImmediateData=No", "No")]
    [InlineData("DataPDUInOrder=No", "Yes")]
    [InlineData("DefaultTime2Wait=5", "5")]
    [InlineData("DefaultTime2Wait=0", "2")]
    [InlineData("DefaultTime2Retain=60", "20")]
    [InlineData("MaxConnections=8", "4")]
    [InlineData("MaxOutstandingR2T=100", "8")]
    [InlineData("ErrorRecoveryLevel=2", "2")]
    [InlineData("IFMarker=Yes", "No")]
    [InlineData("TaskReporting=FastAbort,RFC3720", "RFC3720")]
    [InlineData("X-com.example.Key=1", "NotUnderstood")]
    public void KeysAreAnswered(string offer, string expected)
    {
        var answer = Negotiation().Step(true, LoginStage.Operational, LoginStage.FullFeature, Keys("InitiatorName=iqn.a:b", "TargetName=iqn.t:open", offer));
        Assert.Equal(LoginStatus.Success, answer.Status);
        Assert.True(answer.Transit);
        Assert.Equal(expected, Value(answer, offer[..offer.IndexOf('=')]));
    }

    [Theory]
    [InlineData(0x0207, "TargetName=iqn.t:open")]
    [InlineData(0x0207, "InitiatorName=iqn.a:b")]
    [InlineData(0x0203, "InitiatorName=iqn.a:b", "TargetName=iqn.t:none")]
    [InlineData(0x0209, "InitiatorName=iqn.a:b", "TargetName=iqn.t:open", "SessionType=Other")]
    [InlineData(0x0201, "InitiatorName=iqn.a:b", "TargetName=iqn.t:closed")]
    [InlineData(0x0200, "InitiatorName=iqn.a:b", "TargetName=iqn.t:open", "InitialR2T=Yes", "InitialR2T=No")]
    public void WrongRequestsAreRefused(int status, params string[] keys) =>
        Assert.Equal((LoginStatus)status, Negotiation().Step(true, LoginStage.Operational, LoginStage.FullFeature, Keys(keys)).Status);

    [Fact]
    public void OnlyTheLeadingConnectionNegotiatesForTheSession()
    {
        var login = Negotiation();
        login.IsLeading = false;
        var answer = login.Step(true, LoginStage.Operational, LoginStage.FullFeature,
            Keys("InitiatorName=iqn.a:b", "TargetName=iqn.t:open", "MaxBurstLength=512", "HeaderDigest=CRC32C"));
        Assert.Equal("Irrelevant", Value(answer, "MaxBurstLength"));
        Assert.Equal("CRC32C", Value(answer, "HeaderDigest"));
        login.Parameters.JoinSession(new NegotiatedParameters { MaxBurstLength = 1 << 20 });
        Assert.Equal(1 << 20, login.Parameters.MaxBurstLength);
    }

    [Fact]
    public void StagesGoForwardOnly()
    {
        var login = Negotiation();
        Assert.Equal(LoginStatus.Success, login.Step(true, LoginStage.Security, LoginStage.Operational, Keys("InitiatorName=iqn.a:b", "TargetName=iqn.t:open", "AuthMethod=None")).Status);
        Assert.Equal(LoginStatus.InitiatorError, login.Step(true, LoginStage.Security, LoginStage.FullFeature, []).Status);
        Assert.Equal(LoginStatus.InitiatorError, Negotiation().Step(true, LoginStage.Operational, LoginStage.Operational, Keys("InitiatorName=iqn.a:b", "TargetName=iqn.t:open")).Status);
    }

    [Fact]
    public void SecurityCannotBeLeftWithoutProof()
    {
        var login = Negotiation();
        var answer = login.Step(true, LoginStage.Security, LoginStage.FullFeature, Keys("InitiatorName=iqn.a:b", "TargetName=iqn.t:closed", "AuthMethod=CHAP,None"));
        Assert.Equal("CHAP", Value(answer, "AuthMethod"));
        Assert.False(answer.Transit);
        Assert.Equal(LoginStatus.AuthenticationFailure, login.Step(true, LoginStage.Operational, LoginStage.FullFeature, []).Status);
    }

    [Fact]
    public void ReflectedChallengeIsRefused()
    {
        ChapCredential user = new("alice", "0123456789ab"), own = new("target", "ba9876543210");
        var exchange = new ChapExchange([user], own);
        var answer = new List<KeyValuePair<string, string>>();
        Assert.True(exchange.Step(new() { ["CHAP_A"] = "9,7,5" }, answer, out _));
        var keys = answer.ToDictionary();
        Assert.Equal("7", keys["CHAP_A"]);
        var challenge = TextKeys.ParseBinary(keys["CHAP_C"], 1024)!;
        string response = TextKeys.FormatBinary(Chap.Respond(7, byte.Parse(keys["CHAP_I"]), user.Secret, challenge));
        Assert.False(exchange.Step(new() { ["CHAP_N"] = "alice", ["CHAP_R"] = response, ["CHAP_I"] = "1", ["CHAP_C"] = keys["CHAP_C"] }, [], out string reason));
        Assert.Contains("reflects", reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("novalue\0")]
    [InlineData("=value\0")]
    [InlineData("0123456789012345678901234567890123456789012345678901234567890123=v\0")]
    public void MalformedTextIsAProtocolError(string text) =>
        Assert.Throws<IscsiProtocolException>(() => TextKeys.Parse(Encoding.UTF8.GetBytes(text)));

    [Theory]
    [InlineData("0x0aFF", "0AFF")]
    [InlineData("0xaff", "0AFF")]
    [InlineData("0bCv8=", "0AFF")]
    [InlineData("0x0g", null)]
    [InlineData("0aff", null)]
    [InlineData("0x0102030405", null)]
    public void BinaryValuesAreRead(string text, string? hex) =>
        Assert.Equal(hex, TextKeys.ParseBinary(text, 4) is { } bytes ? Convert.ToHexString(bytes) : null);

    // RFC 3720 appendix B.4.
    [Theory]
    [InlineData("00", 0x8A9136AAu)]
    [InlineData("FF", 0x62A8AB43u)]
    public void DigestsMatchTheStandard(string fill, uint crc) =>
        Assert.Equal(crc, Crc32C.Compute([.. Enumerable.Repeat(Convert.FromHexString(fill)[0], 32)]));
}
