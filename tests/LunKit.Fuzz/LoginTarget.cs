using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Targets;

namespace LunKit.Fuzz;

/// <summary>Any text in any stage; pieces end at a byte FFh. Only <see cref="IscsiProtocolException"/> is a way out.</summary>
internal sealed class LoginTarget() : FuzzTarget("login"), ITargetDirectory
{
    private static readonly Target s_target = new()
    {
        Name = "iqn.t:t", Luns = new Dictionary<int, LogicalUnits.LogicalUnit>(), Chap = [new("alice", "0123456789ab")], MutualChap = new("t", "ba9876543210"),
    };

    public Target? Find(string name) => name == s_target.Name ? s_target : name == "iqn.t:open" ? s_target with { Chap = [] } : null;

    public IReadOnlyList<ChapCredential> DiscoveryChap => [];

    public override void Run(byte[] input)
    {
        var negotiation = new LoginNegotiation(this, new IscsiLimits(), 1);
        try
        {
            while (input.Length > 1)
            {
                int end = Array.IndexOf(input, (byte)0xFF, 1);
                var piece = end < 0 ? input[1..] : input[1..end];
                var answer = negotiation.Step((input[0] & 0x80) != 0, (LoginStage)(input[0] >> 2 & 3), (LoginStage)(input[0] & 3), TextKeys.Parse(piece));
                bool through = answer is { Status: LoginStatus.Success, Transit: true, Next: LoginStage.FullFeature };
                if (through && negotiation.Target == s_target && negotiation.User is null) throw new InvalidOperationException("in without a proof");
                if (answer.Status != LoginStatus.Success || through || end < 0) return;
                input = input[(end + 1)..];
            }
        }
        catch (IscsiProtocolException)
        {
            // What a peer did wrong ends its connection.
        }
    }
}
