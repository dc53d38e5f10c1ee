using LunKit.Fabrics;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// A numbered response as it was sent, with the data before it: what is needed to send either again, on this connection or, cut
/// anew, on another.
/// </summary>
internal sealed class SentResponse
{
    public uint StatSn { get; set; }
    public uint Tag { get; init; }

    /// <summary>Data of a read; null when there was none, or when it had to be forgotten (<see cref="IsForgotten"/>).</summary>
    public byte[]? Data { get; set; }

    /// <summary>How <see cref="Data"/> was cut into PDUs, of which the first is <see cref="FirstDataSn"/> at <see cref="FirstOffset"/>.</summary>
    public DataInLayout? Layout { get; set; }
    public uint FirstDataSn { get; set; }
    public int FirstOffset { get; set; }
    public byte ResidualFlags { get; init; }
    public uint Residual { get; init; }

    /// <summary>The PDU with the status, when the last Data-In has none.</summary>
    public byte[]? Header { get; set; }
    public byte[] Segment { get; set; } = [];

    public bool IsForgotten { get; set; }

    public int Bytes => (Data?.Length ?? 0) + Segment.Length + 128;
}

/// <summary>
/// The responses of a connection that the initiator has not acknowledged by ExpStatSN (RFC 7143 4.2.2.2), kept from error recovery
/// level 1 on, in the order of their StatSN. Only the connection's thread uses it, but for <see cref="Holds"/>.
/// </summary>
/// <param name="maxBytes">Beyond it the oldest data is forgotten: asking for it again is refused, which ends in a retry.</param>
internal sealed class SentResponses(long maxBytes, MemoryAccount memory)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<SentResponse> _unacknowledged = new();
    private long _bytes;

    public IEnumerable<SentResponse> Unacknowledged => _unacknowledged;

    public SentResponse Add(SentResponse response)
    {
        lock (_gate) _unacknowledged.AddLast(response);
        Account(response.Bytes);
        return response;
    }

    public void SetSegment(SentResponse response, ReadOnlySpan<byte> data)
    {
        response.Segment = data.ToArray();
        Account(data.Length);
    }

    public void Acknowledge(uint expStatSn)
    {
        while (_unacknowledged.First is { } oldest && SerialNumber.IsBefore(oldest.Value.StatSn, expStatSn))
        {
            lock (_gate) _unacknowledged.RemoveFirst();
            Account(-oldest.Value.Bytes);
        }
    }

    public SentResponse? FindTask(uint tag) => _unacknowledged.LastOrDefault(r => r.Tag == tag && r.Tag != Pdus.Bhs.ReservedTag);

    /// <summary>Whether a task's response waits to be acknowledged. Any thread.</summary>
    public bool Holds(uint tag)
    {
        lock (_gate) return FindTask(tag) is not null;
    }

    private void Account(int bytes)
    {
        _bytes += bytes;
        memory.Charge(bytes);
        for (var node = _unacknowledged.First; _bytes > maxBytes && node is not null; node = node.Next)
        {
            if (node.Value.Data is not { } data) continue;
            _bytes -= data.Length;
            memory.Refund(data.Length);
            node.Value.Data = null;
            node.Value.IsForgotten = true;
        }
    }
}
