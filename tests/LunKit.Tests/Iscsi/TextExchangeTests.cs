using System.Text;
using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Tests.Iscsi;

/// <summary>Text negotiation in full feature phase (RFC 7143 6.4, 11.10, 11.11).</summary>
public class TextExchangeTests
{
    private const uint New = Bhs.ReservedTag;

    private readonly NegotiatedParameters _parameters = new();
    private readonly TextExchange _exchange;

    public TextExchangeTests() => _exchange = new TextExchange(_parameters, new IscsiLimits(), value => value == "All"
        ? [.. Enumerable.Range(0, 100).Select(i => KeyValuePair.Create("TargetName", $"iqn.2026-11.test:{i:d4}"))] : null);

    private TextReply Take(string text, uint tag = New, bool final = true, bool more = false) => _exchange.Take(final, more, tag, Encoding.UTF8.GetBytes(text));

    private static string Shown(TextReply reply) =>
        reply.Rejection is { } reason ? reason.ToString() : Encoding.UTF8.GetString(reply.Text.Span).Replace('\0', ';');

    // The text of one request, and the text of the response or the reason of the Reject.
    [Theory]
    [InlineData("MaxRecvDataSegmentLength=4096\0", "")]
    [InlineData("MaxRecvDataSegmentLength=0x1000", "")]
    [InlineData("MaxRecvDataSegmentLength=511\0", "MaxRecvDataSegmentLength=Reject;")]
    [InlineData("InitiatorAlias=me\0", "")]
    [InlineData("HeaderDigest=None\0", "HeaderDigest=Reject;")] // a key of the login phase
    [InlineData("MaxBurstLength=512\0", "MaxBurstLength=Reject;")]
    [InlineData("InitiatorAlias=me\0X-a=1\0", "X-a=NotUnderstood;")]
    [InlineData("X-a=NotUnderstood\0", "")] // an answer
    [InlineData("TargetAlias=NotUnderstood\0", "")]
    [InlineData("TargetAddress=Reject\0", "")]
    [InlineData("HeaderDigest=Irrelevant\0", "")]
    [InlineData("", "ProtocolError")] // nothing understood
    [InlineData("\0\0\0", "ProtocolError")]
    [InlineData("X-a=1\0", "ProtocolError")]
    [InlineData("X-a=1\0X-b=2\0", "ProtocolError")]
    [InlineData("sENDtARGETS=aLL\0", "ProtocolError")]
    [InlineData("SendTargets=Alle\0", "ProtocolError")]
    [InlineData("SendTargets=A\0", "ProtocolError")]
    [InlineData("AuthMethod=None\0", "ProtocolError")]
    [InlineData("InitiatorName=iqn.a:b\0", "ProtocolError")]
    [InlineData("InitiatorAlias=a\0InitiatorAlias=a\0", "ProtocolError")]
    [InlineData("SendTargets=All\0SendTargets=All\0", "ProtocolError")]
    [InlineData("novalue\0", "ProtocolError")]
    [InlineData("=value\0", "ProtocolError")]
    [InlineData("InitiatorAlias=a\u0001\0", "ProtocolError")]
    public void RequestsAreAnsweredOrRejected(string text, string expected)
    {
        var reply = Take(text);
        Assert.Equal(expected, Shown(reply));
        if (reply.Rejection is null) Assert.Equal((TextPdu.Final, New), (reply.Flags, reply.TransferTag));
        // Whatever it was, the next exchange is one of its own.
        Assert.Equal("", Shown(Take("InitiatorAlias=next\0")));
        Assert.Equal("next", _parameters.InitiatorAlias);
    }

    [Fact]
    public void LongAnswerGoesOutInPieces()
    {
        _parameters.PeerMaxRecvDataSegmentLength = 1000;
        var text = new StringBuilder();
        var reply = Take("SendTargets=All\0");
        while ((reply.Flags & TextPdu.Final) == 0)
        {
            Assert.Equal((null, TextPdu.Continue, 1000), (reply.Rejection, reply.Flags, reply.Text.Length));
            Assert.NotEqual(New, reply.TransferTag);
            text.Append(Encoding.UTF8.GetString(reply.Text.Span));
            reply = Take("", reply.TransferTag);
        }
        text.Append(Encoding.UTF8.GetString(reply.Text.Span));
        Assert.Equal(100, TextKeys.Parse(Encoding.UTF8.GetBytes(text.ToString())).Count);
    }

    [Fact]
    public void NobodySpeaksIntoALongAnswer()
    {
        _parameters.PeerMaxRecvDataSegmentLength = 1000;
        var reply = Take("SendTargets=All\0");
        Assert.Equal("ProtocolError", Shown(Take("InitiatorAlias=a\0", reply.TransferTag)));
        Assert.Equal("InvalidPduField", Shown(Take("", reply.TransferTag))); // the exchange is over
        Assert.Null(_parameters.InitiatorAlias);
    }

    [Fact]
    public void TextMayComeInPieces()
    {
        var reply = Take("InitiatorA", final: false, more: true);
        Assert.Equal((null, 0, 0), (reply.Rejection, reply.Flags, reply.Text.Length));
        reply = Take("lias=whole", reply.TransferTag, final: false, more: true);
        Assert.Null(_parameters.InitiatorAlias);
        reply = Take(" word\0", reply.TransferTag);
        Assert.Equal((TextPdu.Final, true), (reply.Flags, reply.HasNewParameters));
        Assert.Equal("whole word", _parameters.InitiatorAlias);
    }

    /// <summary>A response is final only when the request was (11.11.1), and only then the parameters change.</summary>
    [Fact]
    public void ExchangeTakesEffectWhenItEnds()
    {
        var reply = Take("MaxRecvDataSegmentLength=4096\0", final: false);
        Assert.Equal((null, 0, false), (reply.Rejection, reply.Flags, reply.HasNewParameters));
        Assert.NotEqual(New, reply.TransferTag);
        Assert.Equal(8192, _parameters.PeerMaxRecvDataSegmentLength);
        reply = Take("", reply.TransferTag);
        Assert.Equal((TextPdu.Final, true), (reply.Flags, reply.HasNewParameters));
        Assert.Equal(4096, _parameters.PeerMaxRecvDataSegmentLength);
    }

    [Theory]
    [InlineData("MaxRecvDataSegmentLength=512\0")] // twice in one exchange
    [InlineData("novalue\0")]
    [InlineData("SendTargets=A\0")]
    public void ExchangeThatFailsChangesNothing(string second)
    {
        var reply = Take("MaxRecvDataSegmentLength=4096\0", final: false);
        Assert.Equal("ProtocolError", Shown(Take(second, reply.TransferTag)));
        Assert.Equal(8192, _parameters.PeerMaxRecvDataSegmentLength);
    }

    [Fact]
    public void NewExchangeForgetsTheOld()
    {
        var reply = Take("MaxRecvDataSegmentLength=4096\0", final: false);
        Assert.Equal("", Shown(Take("InitiatorAlias=a\0")));
        Assert.Equal(8192, _parameters.PeerMaxRecvDataSegmentLength);
        Assert.Equal("InvalidPduField", Shown(Take("", reply.TransferTag)));
        Assert.Equal("InvalidPduField", Shown(Take("InitiatorAlias=b\0", 0x1234)));
        Assert.Equal("a", _parameters.InitiatorAlias);
    }

    [Fact]
    public void ExchangesHaveBounds()
    {
        Assert.Equal("ProtocolError", Shown(Take("InitiatorAlias=a\0", final: true, more: true)));
        var reply = Take(new string('x', 65536), final: false, more: true);
        Assert.Equal("ProtocolError", Shown(Take("x", reply.TransferTag, final: false, more: true)));
        // Pieces without text, and rounds without end.
        foreach (bool more in (bool[])[true, false])
        {
            reply = Take(more ? "" : "InitiatorAlias=a\0", final: false, more: more);
            int rounds = 1;
            while (reply.Rejection is null && rounds++ < 1000) reply = Take(more ? "" : $"X-{rounds}=1\0", reply.TransferTag, final: false, more: more);
            Assert.Equal(("ProtocolError", new IscsiLimits().MaxNegotiationRounds + 1), (Shown(reply), rounds));
        }
    }

    /// <summary>The same through a connection, which goes on afterwards.</summary>
    [Fact]
    public async Task ConnectionOutlivesAReject()
    {
        await using var target = new TestTarget();
        using var connection = await RawConnection.OpenAsync(target);
        await connection.LoginAsync();
        await connection.TestAsync();
        string[] refused =
            ["SendTargets=Alle\0", "SendTargets=A\0", "sENDtARGETS=aLL\0", "X-a=1\0", "", "novalue\0"];
        foreach (string text in refused)
        {
            var reject = await connection.TextAsync(TextPdu.Final, New, text);
            Assert.Equal((PduOpcode.Reject, (byte)RejectReason.ProtocolError), (reject.Opcode, reject.Response));
        }
        var own = await connection.TextAsync(TextPdu.Final, New, "SendTargets=\0");
        Assert.Equal(PduOpcode.TextResponse, own.Opcode);
        Assert.Equal(TestTarget.Iqn, TextKeys.Parse(own.Data).ToDictionary()["TargetName"]);
        Assert.Equal((0, 0), await connection.TestAsync());
    }
}
