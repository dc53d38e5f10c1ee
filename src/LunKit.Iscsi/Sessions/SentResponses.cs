using System.Buffers;
using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// A numbered response as it was sent, with the data before it: what is needed to send either again, on this connection or, cut
/// anew, on another.
/// </summary>
internal sealed class SentResponse
{
    public uint StatSn { get; set; }
    public uint Tag { get; init; }

    /// <summary>
    /// Data of a read, from the shared pool; null when there was none, or when it had to be forgotten (<see cref="IsForgotten"/>).
    /// </summary>
    public byte[]? Data { get; private set; }

    /// <summary>Bytes of <see cref="Data"/> that are used.</summary>
    public int DataLength { get; private set; }

    /// <summary>
    /// How <see cref="Data"/> was cut into PDUs, of which the first is <see cref="FirstDataSn"/> at <see cref="FirstOffset"/>.
    /// </summary>
    public DataInLayout? Layout { get; set; }
    public uint FirstDataSn { get; set; }
    public int FirstOffset { get; set; }
    public byte ResidualFlags { get; init; }
    public uint Residual { get; init; }

    /// <summary>The PDU with the status, when the last Data-In has none.</summary>
    public byte[]? Header { get; set; }
    public byte[] Segment { get; set; } = [];

    public bool IsForgotten { get; set; }

    /// <summary>Whether it answers a SCSI command.</summary>
    public bool IsOfTask => Tag != Bhs.ReservedTag && (Header is null || new Bhs(Header).Opcode == PduOpcode.ScsiResponse);

    /// <summary>Bytes beside <see cref="Data"/>.</summary>
    public int OwnBytes => Segment.Length + 128;

    public int Bytes => (Data?.Length ?? 0) + OwnBytes;

    /// <summary>Takes room for the data of a read.</summary>
    public SentResponse WithData(int length)
    {
        Data = ArrayPool<byte>.Shared.Rent(length);
        DataLength = length;
        return this;
    }

    /// <summary>Gives the data back.</summary>
    public void ReleaseData()
    {
        if (Data is not { } data) return;
        Data = null;
        ArrayPool<byte>.Shared.Return(data);
    }
}

/// <summary>
/// The responses of a connection that the initiator has not acknowledged by ExpStatSN (RFC 7143 4.2.2.2), kept from error recovery
/// level 1 on, in the order of their StatSN. Only the connection's thread uses it, but for <see cref="Holds"/>.
/// </summary>
/// <param name="maxBytes">
/// Beyond it the oldest data is forgotten: asking for it again is refused, which ends in a retry. An initiator that leaves so much unacknowledged
/// beside the data of reads ends its connection.
/// </param>
/// <param name="memory">The connection's account.</param>
internal sealed class SentResponses(long maxBytes, MemoryAccount memory)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<SentResponse> _unacknowledged = new();
    private long _bytes;

    // Of those in the list, beside the data.
    private long _ownBytes;

    public IEnumerable<SentResponse> Unacknowledged => _unacknowledged;

    public SentResponse Add(SentResponse response)
    {
        lock (_gate) _unacknowledged.AddLast(response);
        Account(response.Bytes);
        Own(response.OwnBytes);
        return response;
    }

    public void SetSegment(SentResponse response, ReadOnlySpan<byte> data)
    {
        response.Segment = data.ToArray();
        Account(data.Length);
        Own(data.Length);
    }

    private void Own(int bytes)
    {
        _ownBytes += bytes;
        if (_ownBytes > maxBytes) throw new IscsiProtocolException($"more than {maxBytes} bytes of answers that are not acknowledged");
    }

    public void Acknowledge(uint expStatSn)
    {
        while (_unacknowledged.First is { } oldest && SerialNumber.IsBefore(oldest.Value.StatSn, expStatSn))
        {
            lock (_gate) _unacknowledged.RemoveFirst();
            Account(-oldest.Value.Bytes);
            _ownBytes -= oldest.Value.OwnBytes;
            oldest.Value.ReleaseData();
        }
    }

    /// <summary>
    /// They are others' from here on: nothing of them is forgotten or given back. They stay on the account until <see cref="Close"/>.
    /// </summary>
    public void Surrender()
    {
        lock (_gate) _unacknowledged.Clear();
        _ownBytes = 0;
    }

    /// <summary>The connection has ended.</summary>
    public void Close()
    {
        foreach (var response in _unacknowledged) response.ReleaseData();
        Surrender();
        memory.Refund(_bytes);
        _bytes = 0;
    }

    public SentResponse? FindTask(uint tag) => _unacknowledged.LastOrDefault(r => r.Tag == tag && r.Tag != Bhs.ReservedTag);

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
            node.Value.ReleaseData();
            node.Value.IsForgotten = true;
        }
    }
}
