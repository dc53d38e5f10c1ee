using LunKit.Scsi;
using LunKit.Iscsi.Initiator;
using System.Text;
using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Tests.Iscsi;

/// <summary>Login requests on the wire: texts in pieces, bounds, and what must stay the same; each fault gets its status.</summary>
public class LoginExchangeTests
{
    private const byte Continue = 0x44, Operational = 0x04, Last = 0x87;

    private static readonly IscsiLimits s_limits = new() { LogoutTimeoutSeconds = 1 };

    private static byte[] Text(params string[] pairs) => Encoding.UTF8.GetBytes(string.Concat(pairs.Select(p => p + "\0")));

    private static string[] Who => ["InitiatorName=iqn.2026-11.test:raw", $"TargetName={TestTarget.Iqn}"];

    [Fact]
    public async Task TextMayComeInPieces()
    {
        await using var target = new TestTarget();
        using var connection = await RawConnection.OpenAsync(target);
        var text = Text([.. Who, "HeaderDigest=None", "MaxBurstLength=65536"]);
        // Cut in the middle of keys and values, one byte a piece at the end.
        foreach (var piece in (byte[][])[text[..7], text[7..30], text[30..^2], text[^2..^1]])
        {
            await connection.SendLoginAsync(Continue, piece, 0);
            var more = await connection.ReceiveLoginAsync();
            Assert.Equal((0, 0, (byte)0x04), (more.Status, more.Keys.Count, more.Header[1]));
        }
        await connection.SendLoginAsync(Last, text[^1..], 0);
        var answer = await connection.ReceiveLoginAsync();
        Assert.Equal((0, "65536", (byte)0x87), (answer.Status, answer.Keys["MaxBurstLength"], answer.Header[1]));
    }

    /// <summary>The limit of requests is the last that is served.</summary>
    [Fact]
    public async Task ALoginMayTakeAsManyRequestsAsAreAllowed()
    {
        await using var target = new TestTarget(s_limits with { MaxNegotiationRounds = 4 });
        using var connection = await RawConnection.OpenAsync(target);
        var text = Text(Who);
        foreach (var piece in (byte[][])[text[..7], text[7..30], text[30..]])
        {
            await connection.SendLoginAsync(Continue, piece, 0);
            Assert.Equal(0, (await connection.ReceiveLoginAsync()).Status);
        }
        await connection.SendLoginAsync(Last, [], 0);
        Assert.Equal(0, (await connection.ReceiveLoginAsync()).Status);
        Assert.Equal(1, target.Server.SessionCount);
    }

    public static TheoryData<string, int> Faults => new()
    {
        { "T and C", 0x0200 }, { "no '='", 0x0200 }, { "no key", 0x0200 }, { "long key", 0x0200 }, { "long value", 0x0200 },
        { "control character", 0x0200 },
        { "no UTF-8", 0x0200 }, { "129 keys", 0x0200 }, { "64 KiB", 0x0200 }, { "long answer", 0x0200 }, { "other TSIH", 0x0200 },
        { "no end", 0x0200 },
        { "pieces without end", 0x0200 }, { "version", 0x0205 },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task FaultsGetTheirStatus(string fault, int status)
    {
        await using var target = new TestTarget(s_limits);
        using var connection = await RawConnection.OpenAsync(target);
        LoginReply reply;
        switch (fault)
        {
            case "T and C":
                await connection.SendLoginAsync(0xC7, Text(Who), 0);
                break;
            case "64 KiB":
                for (int sent = 0; sent < s_limits.MaxTextBytes; sent += 8192)
                {
                    await connection.SendLoginAsync(Continue, new byte[8192], 0);
                    Assert.Equal(0, (await connection.ReceiveLoginAsync()).Status);
                }
                await connection.SendLoginAsync(Continue, new byte[1], 0);
                break;
            case "long answer":
                var unknown = Enumerable.Range(0, 120).Select(i => $"X-{new string('k', 56)}{i:d4}=");
                await connection.SendLoginAsync(Last, Text([.. Who, .. unknown]), 0);
                break;
            case "129 keys":
                await connection.SendLoginAsync(Last, Text([.. Who, .. Enumerable.Range(0, 127).Select(i => $"X-{i}=")]), 0);
                break;
            case "other TSIH":
                await connection.SendLoginAsync(Operational, Text(Who), 0);
                Assert.Equal(0, (await connection.ReceiveLoginAsync()).Status);
                await connection.SendLoginAsync(Last, [], 1);
                break;
            case "no end":
                await connection.SendLoginAsync(Operational, Text([.. Who]), 0);
                for (int i = 1; (reply = await connection.ReceiveLoginAsync()).Status == 0; i++)
                {
                    Assert.InRange(i, 1, s_limits.MaxNegotiationRounds);
                    await connection.SendLoginAsync(Operational, Text($"X-{i}=1"), 0);
                }
                Assert.Equal(status, reply.Status);
                Assert.True(await connection.IsClosedAsync());
                return;
            case "pieces without end":
                await connection.SendLoginAsync(Continue, [], 0);
                for (int i = 1; (reply = await connection.ReceiveLoginAsync()).Status == 0; i++)
                {
                    Assert.InRange(i, 1, s_limits.MaxNegotiationRounds);
                    await connection.SendLoginAsync(Continue, [], 0);
                }
                Assert.Equal(status, reply.Status);
                Assert.True(await connection.IsClosedAsync());
                return;
            case "long value":
                // What fits into no single PDU of a login comes in two.
                await connection.SendLoginAsync(Continue, Text($"{Who}\0X-k={new string('v', 4000)}")[..^1], 0);
                await connection.ReceiveLoginAsync();
                await connection.SendLoginAsync(Last, Text(new string('v', 4193)), 0);
                break;
            case "version":
                var pdu = new byte[Bhs.Length];
                LoginPdu.WriteRequest(pdu, true, false, LoginStage.Operational, LoginStage.FullFeature, 1, 0, 1, 1, 0);
                pdu[2] = pdu[3] = 1;
                await connection.SendAsync(pdu, Text(Who));
                break;
            default:
                byte[] bad = fault switch
                {
                    "no '='" => Text("HeaderDigest"),
                    "no key" => Text("=None"),
                    "long key" => Text($"{new string('k', 64)}=1"),
                    "control character" => Text("InitiatorAlias=one line\nand another"),
                    _ => [.. "X-k="u8, 0xFF, 0xFE, 0],
                };
                await connection.SendLoginAsync(Last, [.. Text(Who), .. bad], 0);
                break;
        }
        reply = await connection.ReceiveLoginAsync();
        Assert.Equal(status, reply.Status);
        // No session, no transition; and the connection is over.
        Assert.Equal(0, reply.Header[1] & 0x80);
        Assert.True(await connection.IsClosedAsync());
        Assert.Equal(0, target.Server.SessionCount);
    }

    /// <summary>Beyond a limit an initiator is told so, and can tell its user (RFC 7143 11.13.5).</summary>
    [Fact]
    public async Task ConnectionsBeyondTheLimitAreToldSo()
    {
        await using var target = new TestTarget(new IscsiLimits { MaxConnectionsPerAddress = 1, LogoutTimeoutSeconds = 1 });
        var first = await target.ConnectAsync();
        var refused = await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync(target.Options with { InitiatorName = "iqn.2026-11.test:second" }));
        Assert.Contains("0302", refused.Message, StringComparison.Ordinal);
        Assert.Equal(ScsiStatus.Good, (await first.ExecuteAsync(0, Cdbs.Read16(0, 1), dataInLength: 512)).Status);
        Assert.Equal(1, target.Server.ConnectionCount);
    }
}
