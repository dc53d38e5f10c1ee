using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

/// <summary>Every key of RFC 7143 13, and every way in which a login can break the rules of 6.2 and 6.3.</summary>
public class NegotiationTests
{
    private sealed class Directory(params Target[] targets) : ITargetDirectory
    {
        public Target? Find(string name) => targets.FirstOrDefault(t => string.Equals(t.Name, name, StringComparison.OrdinalIgnoreCase));
        public IReadOnlyList<ChapCredential> DiscoveryChap => [];
    }

    private static readonly Target s_open = new() { Name = "iqn.t:open", Luns = new Dictionary<int, LunKit.LogicalUnits.LogicalUnit>() };
    private static readonly Target s_closed = s_open with { Name = "iqn.t:closed", Chap = [new("alice", "0123456789ab")] };

    private static LoginNegotiation Negotiation() => new(new Directory(s_open, s_closed), new IscsiLimits(), 1);

    private static List<KeyValuePair<string, string>> Keys(params IEnumerable<string> pairs) =>
        [.. pairs.Select(p => KeyValuePair.Create(p[..p.IndexOf('=')], p[(p.IndexOf('=') + 1)..]))];

    private static string? Value(LoginAnswer answer, string key) => answer.Keys.Where(k => k.Key == key).Select(k => k.Value).SingleOrDefault();

    private static LoginAnswer Stay(LoginNegotiation login, params IEnumerable<string> pairs) =>
        login.Step(false, LoginStage.Operational, LoginStage.Security, Keys([.. pairs]));

    private static LoginAnswer Last(LoginNegotiation login, params IEnumerable<string> pairs) =>
        login.Step(true, LoginStage.Operational, LoginStage.FullFeature, Keys([.. pairs]));

    private static readonly string[] s_first = ["InitiatorName=iqn.a:b", "TargetName=iqn.t:open"],
        s_discovery = ["InitiatorName=iqn.a:b", "SessionType=Discovery"];

    // Offer, answer; null: none. In sessions of both types.
    [Theory]
    [InlineData("HeaderDigest=CRC32C,None", "CRC32C")]
    [InlineData("HeaderDigest=None,CRC32C", "None")]
    [InlineData("HeaderDigest=X-other,CRC32C", "CRC32C")]
    [InlineData("HeaderDigest=X-other", "Reject")]
    [InlineData("HeaderDigest=", "Reject")]
    [InlineData("HeaderDigest=crc32c", "Reject")]
    [InlineData("DataDigest=CRC32C", "CRC32C")]
    [InlineData("DataDigest=,", "Reject")]
    [InlineData("MaxConnections=8", "4")]
    [InlineData("MaxConnections=1", "1")]
    [InlineData("MaxConnections=0", "Reject")]
    [InlineData("MaxConnections=65536", "Reject")]
    [InlineData("InitialR2T=No", "No")]
    [InlineData("InitialR2T=Yes", "Yes")]
    [InlineData("InitialR2T=Maybe", "Reject")]
    [InlineData("InitialR2T=yes", "Reject")]
    [InlineData("InitialR2T=", "Reject")]
    [InlineData("ImmediateData=No", "No")]
    [InlineData("ImmediateData=Yes", "Yes")]
    [InlineData("MaxRecvDataSegmentLength=512", "262144")] // declared by both sides
    [InlineData("MaxBurstLength=65536", "65536")]
    [InlineData("MaxBurstLength=16777215", "1048576")]
    [InlineData("MaxBurstLength=16777216", "Reject")]
    [InlineData("MaxBurstLength=0x10000", "65536")]
    [InlineData("MaxBurstLength=0X1ffFF", "131071")]
    [InlineData("MaxBurstLength=0xffffffff00010000", "Reject")]
    [InlineData("MaxBurstLength=512", "512")]
    [InlineData("MaxBurstLength=511", "Reject")]
    [InlineData("MaxBurstLength=065536", "Reject")]
    [InlineData("MaxBurstLength=abc", "Reject")]
    [InlineData("MaxBurstLength=512~1024", "Reject")]
    [InlineData("FirstBurstLength=512", "512")]
    [InlineData("FirstBurstLength=16777215", "262144")]
    [InlineData("FirstBurstLength=0", "Reject")]
    [InlineData("DefaultTime2Wait=5", "5")]
    [InlineData("DefaultTime2Wait=0", "2")]
    [InlineData("DefaultTime2Wait=3600", "3600")]
    [InlineData("DefaultTime2Wait=3601", "Reject")]
    [InlineData("DefaultTime2Retain=60", "20")]
    [InlineData("DefaultTime2Retain=0", "0")]
    [InlineData("MaxOutstandingR2T=100", "8")]
    [InlineData("MaxOutstandingR2T=0", "Reject")]
    [InlineData("DataPDUInOrder=No", "Yes")]
    [InlineData("DataSequenceInOrder=No", "Yes")]
    [InlineData("ErrorRecoveryLevel=2", "2")]
    [InlineData("ErrorRecoveryLevel=0", "0")]
    [InlineData("ErrorRecoveryLevel=3", "Reject")]
    [InlineData("iSCSIProtocolLevel=1", "1")]
    [InlineData("iSCSIProtocolLevel=31", "1")]
    [InlineData("iSCSIProtocolLevel=0", "0")]
    [InlineData("iSCSIProtocolLevel=32", "Reject")]
    [InlineData("TaskReporting=FastAbort,RFC3720", "RFC3720")]
    [InlineData("TaskReporting=FastAbort", "Reject")]
    [InlineData("InitiatorAlias=a host", null)]
    [InlineData("InitiatorAlias=", null)]
    [InlineData("IFMarker=Yes", "No")]
    [InlineData("OFMarker=Yes", "No")]
    [InlineData("IFMarkInt=2048~8192", "Reject")]
    [InlineData("OFMarkInt=2048", "Reject")]
    [InlineData("X-com.example.Key=1", "NotUnderstood")]
    [InlineData("maxburstlength=65536", "NotUnderstood")] // keys have their letter case
    public void KeysAreAnswered(string offer, string? expected)
    {
        foreach (string[] first in (string[][])[s_first, s_discovery])
        {
            var answer = Last(Negotiation(), [.. first, offer]);
            string? said = Value(answer, offer[..offer.IndexOf('=')]);
            Assert.Equal((LoginStatus.Success, true, expected), (answer.Status, answer.Transit, said));
        }
    }

    // FirstBurstLength never exceeds MaxBurstLength (13.14), and what is answered is what is used.
    [Theory]
    [InlineData("FirstBurstLength=262144;MaxBurstLength=16384", "16384", "16384")]
    [InlineData("MaxBurstLength=16384;FirstBurstLength=262144", "16384", "16384")]
    [InlineData("FirstBurstLength=8192;MaxBurstLength=16384", "8192", "16384")]
    [InlineData("FirstBurstLength=16777215;MaxBurstLength=16777215", "262144", "1048576")]
    [InlineData("FirstBurstLength=16777215", "262144", null)] // the default of MaxBurstLength
    public void FirstBurstStaysWithinABurst(string offers, string first, string? burst)
    {
        var login = Negotiation();
        var answer = Last(login, [.. s_first, .. offers.Split(';')]);
        Assert.Equal((first, burst), (Value(answer, "FirstBurstLength"), Value(answer, "MaxBurstLength")));
        Assert.Equal(int.Parse(first), login.Parameters.FirstBurstLength);
        Assert.Equal(int.Parse(burst ?? "262144"), login.Parameters.MaxBurstLength);
    }

    [Theory]
    [InlineData("MaxBurstLength=16384", "FirstBurstLength=262144", "16384")]
    [InlineData("FirstBurstLength=8192", "MaxBurstLength=16384", "16384")]
    [InlineData("FirstBurstLength=65536", "MaxBurstLength=16384", "Reject")] // it cannot take back what was agreed on
    [InlineData("FirstBurstLength=65536", "MaxBurstLength=65536", "65536")]
    public void FirstBurstStaysWithinABurstThatIsNegotiatedLater(string before, string later, string expected)
    {
        var login = Negotiation();
        Assert.Equal(LoginStatus.Success, Stay(login, [.. s_first, before]).Status);
        Assert.Equal(expected, Value(Last(login, later), later[..later.IndexOf('=')]));
        Assert.True(login.Parameters.FirstBurstLength <= login.Parameters.MaxBurstLength);
    }

    [Fact]
    public void SmallBurstsOfTheTargetBoundTheFirstOne()
    {
        var login = new LoginNegotiation(new Directory(s_open), new IscsiLimits { MaxBurstLength = 16384 }, 1);
        Assert.Equal("16384", Value(Stay(login, [.. s_first, "FirstBurstLength=65536"]), "FirstBurstLength"));
        Assert.Equal("16384", Value(Last(login, "MaxBurstLength=262144"), "MaxBurstLength"));
    }

    // An answer is not answered (6.2).
    [Theory]
    [InlineData("TargetAlias=NotUnderstood")]
    [InlineData("TargetPortalGroupTag=NotUnderstood")]
    [InlineData("TargetPortalGroupTag=1")]
    [InlineData("X-com.example.Key=NotUnderstood")]
    [InlineData("HeaderDigest=Reject")]
    [InlineData("MaxBurstLength=Irrelevant")]
    [InlineData("MaxRecvDataSegmentLength=NotUnderstood")]
    public void AnswersEndTheMatter(string said)
    {
        var login = Negotiation();
        login.Step(false, LoginStage.Operational, LoginStage.Security, Keys(s_first));
        foreach (bool transit in (bool[])[false, true])
        {
            var answer = login.Step(transit, LoginStage.Operational, LoginStage.FullFeature, Keys(said));
            Assert.Equal((LoginStatus.Success, transit), (answer.Status, answer.Transit));
            Assert.Empty(answer.Keys);
        }
    }

    // Status, and the requests: S or O the stage, T a transition, then the keys. What comes before the last request succeeds.
    [Theory]
    [InlineData(0x0207, "OT TargetName=iqn.t:open")]
    [InlineData(0x0207, "OT InitiatorName=iqn.a:b")]
    [InlineData(0x0207, "OT InitiatorName=;TargetName=iqn.t:open")]
    [InlineData(0x0207, "OT InitiatorName=iqn.a:b;TargetName=")]
    [InlineData(0x0207, "OT InitiatorName=iqn.a:b,i,0x80;TargetName=iqn.t:open")] // the end of a port's name
    [InlineData(0x0207, "OT InitiatorName=iqn.a b;TargetName=iqn.t:open")]
    [InlineData(0x0207, "OT")]
    [InlineData(0x0203, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:none")]
    [InlineData(0x0209, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:open;SessionType=Other")]
    [InlineData(0x0200, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:open;InitialR2T=Yes;InitialR2T=No")] // twice in one request
    [InlineData(0x0200, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:open;InitialR2T=Yes;InitialR2T=Yes")]
    [InlineData(0x0200, "O InitiatorName=iqn.a:b;TargetName=iqn.t:open;InitialR2T=Yes", "OT InitialR2T=Yes")] // in two requests
    [InlineData(0x0200, "S InitiatorName=iqn.a:b;TargetName=iqn.t:open;AuthMethod=None", "ST AuthMethod=None")]
    [InlineData(0x0200, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:open;ErrorRecoveryLevel=1", "OT ErrorRecoveryLevel=0")]
    [InlineData(0x0200, "O InitiatorName=iqn.a:b;TargetName=iqn.t:open", "OT InitiatorName=iqn.a:c")] // declared anew
    [InlineData(0x0200, "O InitiatorName=iqn.a:b;TargetName=iqn.t:open", "OT TargetName=iqn.t:closed")]
    [InlineData(0x0200, "O InitiatorName=iqn.a:b;TargetName=iqn.t:open;SessionType=Normal", "OT SessionType=Discovery")]
    [InlineData(0x0200, "O InitiatorName=iqn.a:b;TargetName=iqn.t:open;MaxRecvDataSegmentLength=512", "OT MaxRecvDataSegmentLength=1024")]
    [InlineData(0x0200, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:open;SendTargets=All")] // keys of other phases and stages
    [InlineData(0x0200, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:open;AuthMethod=None")]
    [InlineData(0x0200, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:open;CHAP_A=5")]
    [InlineData(0x0200, "S InitiatorName=iqn.a:b;TargetName=iqn.t:open;CHAP_A=5")]
    [InlineData(0x0200, "S InitiatorName=iqn.a:b;TargetName=iqn.t:open", "OT InitialR2T=Yes")] // a stage that was not agreed on
    [InlineData(0x0200, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:open", "ST")]
    [InlineData(0x0200, "S2 InitiatorName=iqn.a:b;TargetName=iqn.t:open")]
    [InlineData(0x0200, "2T InitiatorName=iqn.a:b;TargetName=iqn.t:open")]
    [InlineData(0x0200, "3T InitiatorName=iqn.a:b;TargetName=iqn.t:open")]
    [InlineData(0x0200, "O InitiatorName=iqn.a:b;TargetName=iqn.t:open", "O", "O")] // no progress
    [InlineData(0x0200, "O InitiatorName=iqn.a:b;TargetName=iqn.t:open", "O TargetAlias=NotUnderstood", "O TargetAlias=NotUnderstood")]
    [InlineData(0x0200, "S InitiatorName=iqn.a:b;TargetName=iqn.t:open", "S InitiatorName=iqn.a:b", "S InitiatorName=iqn.a:b")]
    [InlineData(0x0201, "OT InitiatorName=iqn.a:b;TargetName=iqn.t:closed")] // CHAP left out
    [InlineData(0x0201, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:closed")]
    [InlineData(0x0201, "SF InitiatorName=iqn.a:b;TargetName=iqn.t:closed")]
    [InlineData(0x0201, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=Reject")]
    [InlineData(0x0201, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=")]
    [InlineData(0x0201, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=None")]
    [InlineData(0x0201, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=chap,SRP")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed", "S", "S")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;CHAP_A=5")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "S")] // and no CHAP_A
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "OT")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "S CHAP_A=99")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "S CHAP_A=")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "S CHAP_A=5", "S")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "S CHAP_A=5", "ST CHAP_N=alice;CHAP_R=0x00")]
    [InlineData(0x0201, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "S CHAP_A=5", "ST CHAP_N=alice;CHAP_R=123")]
    [InlineData(0x0200, "S InitiatorName=iqn.a:b;TargetName=iqn.t:closed;AuthMethod=CHAP", "S CHAP_A=5", "S CHAP_A=7")]
    [InlineData(0x0201, "ST InitiatorName=iqn.a:b;TargetName=iqn.t:open;AuthMethod=CHAP")] // the initiator insists, nobody has a secret
    public void WrongRequestsAreRefused(int status, params string[] requests)
    {
        var login = Negotiation();
        for (int i = 0; i < requests.Length; i++)
        {
            string flags = requests[i].Split(' ')[0], keys = requests[i][flags.Length..].Trim();
            var stage = flags[0] switch
            {
                'S' => LoginStage.Security, 'O' => LoginStage.Operational, var other => (LoginStage)(other - '0'),
            };
            var next = flags[1..] switch
            {
                "2" => (LoginStage)2, "T" when stage == LoginStage.Security => LoginStage.Operational, _ => LoginStage.FullFeature,
            };
            var answer = login.Step(flags.Length > 1, stage, next, Keys(keys.Length == 0 ? [] : keys.Split(';')));
            Assert.Equal(i < requests.Length - 1 ? LoginStatus.Success : (LoginStatus)status, answer.Status);
        }
    }

    /// <summary>Some initiators say in each stage who they are.</summary>
    [Fact]
    public void DeclarationsMayBeRepeatedAsTheyWere()
    {
        var login = Negotiation();
        string[] who = [.. s_first, "SessionType=Normal", "InitiatorAlias=host"];
        Assert.True(login.Step(true, LoginStage.Security, LoginStage.Operational, Keys([.. who, "AuthMethod=CHAP,None"])).Transit);
        var answer = Last(login, [.. who, "InitialR2T=No"]);
        Assert.Equal((LoginStatus.Success, "No"), (answer.Status, Value(answer, "InitialR2T")));
    }

    [Fact]
    public void NamesAreFoldedToLowerCase()
    {
        var login = Negotiation();
        Assert.Equal(LoginStatus.Success, Last(login, "InitiatorName=IQN.A:B", "TargetName=IQN.T:Open").Status);
        Assert.Equal(("iqn.a:b", s_open), (login.Parameters.InitiatorName, login.Target));
    }

    [Fact]
    public void RefusalsKeepWhatTheyQuoteShort()
    {
        string flood = new('x', 8000);
        Assert.InRange(Last(Negotiation(), "InitiatorName=iqn.a:b", $"TargetName=iqn.{flood}").Reason.Length, 1, 300);
        Assert.InRange(Last(Negotiation(), [.. s_first, $"SessionType={flood}"]).Reason.Length, 1, 300);
        var refusal = Negotiation().Step(true, LoginStage.Security, LoginStage.Operational, Keys([.. s_first, $"AuthMethod={flood}"]));
        Assert.InRange(refusal.Reason.Length, 1, 300);
    }
}
