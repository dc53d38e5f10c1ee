using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Targets;

namespace LunKit.Fuzz;

/// <summary>Any text in any stage; pieces end at a byte FFh. Nothing throws, and nobody gets in without a proof.</summary>
internal sealed class LoginTarget() : FuzzTarget("login"), ITargetDirectory
{
    private static readonly Target s_target = new()
    {
        Name = "iqn.t:t", Luns = new Dictionary<int, LogicalUnits.LogicalUnit>(), Chap = [new("alice", "0123456789ab")],
        MutualChap = new("t", "ba9876543210"),
    };

    public Target? Find(string name) => name == s_target.Name ? s_target : name == "iqn.t:open" ? s_target with { Chap = [] } : null;

    public IReadOnlyList<ChapCredential> DiscoveryChap => [];

    public override void Run(byte[] input)
    {
        var negotiation = new LoginNegotiation(this, new IscsiLimits(), 1);
        var login = new LoginExchange(negotiation, new IscsiLimits());
        Span<byte> header = stackalloc byte[Bhs.Length];
        for (int rounds = 1; input.Length > 1; rounds++)
        {
            int end = Array.IndexOf(input, (byte)0xFF, 1);
            var piece = end < 0 ? input[1..] : input[1..end];
            // The flags are as the input says, the T and C bits and the stages.
            LoginPdu.WriteRequest(header, false, false, LoginStage.Security, LoginStage.Security, 1, 0, 1, 1, piece.Length);
            header[1] = input[0];
            var answer = login.Take(new LoginPdu(header), piece);
            bool through = answer is { Status: LoginStatus.Success, Transit: true, Next: LoginStage.FullFeature };
            if (through && negotiation.Target == s_target && negotiation.User is null) throw new InvalidOperationException("in without a proof");
            if (rounds > new IscsiLimits().MaxNegotiationRounds && answer.Status == LoginStatus.Success) throw new InvalidOperationException("a login without an end");
            if (answer.Status != LoginStatus.Success || through || end < 0) return;
            input = input[(end + 1)..];
        }
    }
}
