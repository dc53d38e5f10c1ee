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

    // Numbers of CHAP are numbers of RFC 7143 6.1 (12.1.3): in hexadecimal too.
    [Theory]
    [InlineData("5", 5, "77")]
    [InlineData("0x5", 5, "0x4d")]
    [InlineData("0x63,0X07,5", 7, "0X4D")]
    [InlineData("9,0x5", 5, "0")]
    public void ChapTakesNumbersInHexadecimal(string algorithms, int chosen, string identifier)
    {
        ChapCredential user = new("alice", "0123456789ab"), own = new("target", "ba9876543210");
        var exchange = new ChapExchange([user], own);
        var answer = new List<KeyValuePair<string, string>>();
        Assert.True(exchange.Step(new() { ["CHAP_A"] = algorithms }, answer, out _));
        var keys = answer.ToDictionary();
        Assert.Equal($"{chosen}", keys["CHAP_A"]);
        string response = TextKeys.FormatBinary(Chap.Respond(chosen, byte.Parse(keys["CHAP_I"]), user.Secret, TextKeys.ParseBinary(keys["CHAP_C"], 1024)!));
        answer.Clear();
        Assert.True(exchange.Step(new() { ["CHAP_N"] = "alice", ["CHAP_R"] = response, ["CHAP_I"] = identifier, ["CHAP_C"] = "0bAQID" }, answer, out string reason), reason);
        Assert.True(exchange.IsDone);
        Assert.True(TextKeys.TryNumber(identifier, 0, 255, out int number));
        Assert.Equal(Chap.Respond(chosen, (byte)number, own.Secret, [1, 2, 3]), TextKeys.ParseBinary(answer.ToDictionary()["CHAP_R"], 64));
    }

    [Theory]
    [InlineData("256")]
    [InlineData("0x100")]
    [InlineData("")]
    [InlineData("-1")]
    public void ChapIdentifierIsOneByte(string identifier)
    {
        ChapCredential user = new("alice", "0123456789ab");
        var exchange = new ChapExchange([user], new("target", "ba9876543210"));
        var answer = new List<KeyValuePair<string, string>>();
        Assert.True(exchange.Step(new() { ["CHAP_A"] = "7" }, answer, out _));
        var keys = answer.ToDictionary();
        string response = TextKeys.FormatBinary(Chap.Respond(7, byte.Parse(keys["CHAP_I"]), user.Secret, TextKeys.ParseBinary(keys["CHAP_C"], 1024)!));
        Assert.False(exchange.Step(new() { ["CHAP_N"] = "alice", ["CHAP_R"] = response, ["CHAP_I"] = identifier, ["CHAP_C"] = "0x01" }, [], out _));
        Assert.False(exchange.IsDone);
    }

    [Theory]
    [InlineData("novalue\0")]
    [InlineData("=value\0")]
    [InlineData("0123456789012345678901234567890123456789012345678901234567890123=v\0")]
    [InlineData("Key With Space=v\0")]
    [InlineData("K\u00e9y=v\0")]
    [InlineData("Key=a line\nof a log\0")]
    [InlineData("Key=a tab\t\0")]
    public void MalformedTextIsAProtocolError(string text)
    {
        Assert.False(TextKeys.TryParse(Encoding.UTF8.GetBytes(text), out _, out string? fault));
        Assert.NotEmpty(fault);
        Assert.Throws<IscsiProtocolException>(() => TextKeys.Parse(Encoding.UTF8.GetBytes(text)));
    }

    [Fact]
    public void TextHasBounds()
    {
        static bool Parses(byte[] text) => TextKeys.TryParse(text, out _, out _);
        Assert.True(Parses([.. "K="u8, .. new byte[8192].Select(_ => (byte)'v')]));
        Assert.False(Parses([.. "K="u8, .. new byte[8193].Select(_ => (byte)'v')]));
        Assert.True(Parses(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 128).Select(i => $"K{i}=\0")))));
        Assert.False(Parses(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 129).Select(i => $"K{i}=\0")))));
        Assert.False(Parses([.. "K="u8, 0xC3, 0x28, 0])); // no UTF-8
        Assert.True(TextKeys.TryParse("A=1\0\0B=\0C=x=y"u8, out var pairs, out _));
        Assert.Equal([new("A", "1"), new("B", ""), new("C", "x=y")], pairs);
    }

    // RFC 7143 6.1: decimal constants without leading zeros, hexadecimal ones in either case, both below 2**64.
    [Theory]
    [InlineData("0", 0UL)]
    [InlineData("5", 5UL)]
    [InlineData("0x4d", 77UL)]
    [InlineData("0X4D", 77UL)]
    [InlineData("0x0000000000000000000000004d", 77UL)]
    [InlineData("18446744073709551615", ulong.MaxValue)]
    [InlineData("0xffffffffffffffff", ulong.MaxValue)]
    [InlineData("18446744073709551616", null)]
    [InlineData("0x10000000000000000", null)]
    [InlineData("", null)]
    [InlineData("0x", null)]
    [InlineData("x5", null)]
    [InlineData("05", null)]
    [InlineData("00", null)]
    [InlineData("-1", null)]
    [InlineData("+1", null)]
    [InlineData(" 1", null)]
    [InlineData("1 ", null)]
    [InlineData("1,000", null)]
    [InlineData("0x-1", null)]
    [InlineData("0x 1", null)]
    [InlineData("0b101", null)]
    [InlineData("\u0661", null)] // a digit, but none of these
    public void NumbersAreRead(string text, ulong? expected) => Assert.Equal(expected, TextKeys.TryNumber(text, out ulong value) ? value : null);

    [Theory]
    [InlineData("0x0aFF", "0AFF")]
    [InlineData("0xaff", "0AFF")]
    [InlineData("0bCv8=", "0AFF")]
    [InlineData("0x0g", null)]
    [InlineData("0aff", null)]
    [InlineData("0x0102030405", null)]
    [InlineData("0X0Aff", "0AFF")]
    [InlineData("0BCv8=", "0AFF")]
    [InlineData("0x", null)]
    [InlineData("0b", null)]
    [InlineData("0b====", null)]
    [InlineData("0bCv 8=", null)]
    [InlineData("0bCv8", null)]
    [InlineData("0bAQIDBAU=", null)]
    [InlineData("0x-1", null)]
    [InlineData("10", null)]
    [InlineData("", null)]
    public void BinaryValuesAreRead(string text, string? hex) =>
        Assert.Equal(hex, TextKeys.ParseBinary(text, 4) is { } bytes ? Convert.ToHexString(bytes) : null);

    // RFC 3720 appendix B.4.
    [Theory]
    [InlineData("00", 0x8A9136AAu)]
    [InlineData("FF", 0x62A8AB43u)]
    public void DigestsMatchTheStandard(string fill, uint crc) =>
        Assert.Equal(crc, Crc32C.Compute([.. Enumerable.Repeat(Convert.FromHexString(fill)[0], 32)]));
}
