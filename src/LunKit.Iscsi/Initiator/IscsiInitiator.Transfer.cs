using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi.Sessions;

namespace LunKit.Iscsi.Initiator;

/// <summary>PDUs in and out.</summary>
public sealed partial class IscsiInitiator
{
    private bool _fullFeature;

    private bool HeaderDigest => _fullFeature && _parameters.HeaderDigest;
    private bool DataDigest => _fullFeature && _parameters.DataDigest;

    private async Task SendAsync(byte[] pdu, ReadOnlyMemory<byte> data, bool numbered)
    {
        await _send.WaitAsync().ConfigureAwait(false);
        try
        {
            await SendLockedAsync(pdu, data, numbered).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            Fail(e);
        }
        finally
        {
            _send.Release();
        }
    }

    /// <summary>Sends bytes as they are: for tests of how a target bears them.</summary>
    internal ValueTask SendRawAsync(ReadOnlyMemory<byte> bytes) => _stream.WriteAsync(bytes);

    private async Task SendLockedAsync(byte[] pdu, ReadOnlyMemory<byte> data, bool numbered)
    {
        var header = new Bhs(pdu.AsSpan(0, Bhs.Length)) { DataLength = data.Length, ExpStatSn = _expStatSn };
        bool dataOut = header.Opcode == PduOpcode.DataOut;
        if (!dataOut) header.CmdSn = _cmdSn;
        if (numbered && !header.IsImmediate) _cmdSn++;
        var bytes = Mangle is null ? Seal(pdu, data.Span) : Mangle(Seal(pdu, data.Span));
        if (bytes is not null) await _stream.WriteAsync(bytes).ConfigureAwait(false);
    }

    private byte[] Seal(ReadOnlySpan<byte> header, ReadOnlySpan<byte> data)
    {
        int padded = Bhs.Padded(data.Length), digests = (HeaderDigest ? 4 : 0) + (DataDigest && data.Length > 0 ? 4 : 0);
        var bytes = new byte[header.Length + padded + digests];
        header.CopyTo(bytes);
        int at = header.Length;
        if (HeaderDigest)
        {
            Crc32C.Write(header, bytes.AsSpan(at));
            at += 4;
        }
        data.CopyTo(bytes.AsSpan(at));
        if (DataDigest && data.Length > 0) Crc32C.Write(bytes.AsSpan(at, padded), bytes.AsSpan(at + padded));
        return bytes;
    }

    private async Task SendDataOutAsync(PendingAnswer pending, uint tag, uint transferTag, int offset, int length)
    {
        uint dataSn = 0;
        for (int end = offset + length; offset < end;)
        {
            int segment = Math.Min(end - offset, _parameters.PeerMaxRecvDataSegmentLength);
            var pdu = new byte[Bhs.Length];
            DataOutPdu.Write(pdu, pending.Lun, tag, transferTag, segment, dataSn++, (uint)offset, offset + segment == end);
            await SendLockedAsync(pdu, pending.DataOut.AsMemory(offset, segment), numbered: false).ConfigureAwait(false);
            offset += segment;
        }
    }

    private async Task<(byte[] Header, byte[] Data)> ReceiveAsync()
    {
        var header = new byte[Bhs.Length];
        await _stream.ReadExactlyAsync(header).ConfigureAwait(false);
        int ahs = header[4] * 4, length = new Bhs(header).DataLength;
        if (ahs > 0) await _stream.ReadExactlyAsync(new byte[ahs]).ConfigureAwait(false);
        var digest = new byte[4];
        if (HeaderDigest)
        {
            await _stream.ReadExactlyAsync(digest).ConfigureAwait(false);
            if (!Crc32C.Matches(header, digest)) throw new IOException("header digest error");
        }
        var data = new byte[Bhs.Padded(length)];
        await _stream.ReadExactlyAsync(data).ConfigureAwait(false);
        if (DataDigest && length > 0)
        {
            await _stream.ReadExactlyAsync(digest).ConfigureAwait(false);
            if (!Crc32C.Matches(data, digest)) throw new IOException("data digest error");
        }
        return (header, data.Length == length ? data : data[..length]);
    }

    private async Task ReceiveLoopAsync()
    {
        try
        {
            while (_reads)
            {
                var (header, data) = await ReceiveAsync().ConfigureAwait(false);
                await TakeAsync(header, data).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            Fail(e);
        }
    }

    private async Task TakeAsync(byte[] header, byte[] data)
    {
        uint tag = new Bhs(header).InitiatorTaskTag, statSn = new Bhs(header).StatSn;
        var opcode = new Bhs(header).Opcode;
        bool counts = opcode != PduOpcode.ReadyToTransfer && !(opcode == PduOpcode.DataIn && (header[1] & DataInPdu.HasStatus) == 0) &&
            !(opcode == PduOpcode.NopIn && tag == Bhs.ReservedTag);
        if (counts && !SerialNumber.IsBefore(statSn, _expStatSn)) _expStatSn = statSn + 1;
        switch (opcode)
        {
            case PduOpcode.NopIn when tag == Bhs.ReservedTag:
                var pong = new byte[Bhs.Length];
                NopPdu.Write(pong, PduOpcode.NopOut, 0, Bhs.ReservedTag, new Bhs(header).TargetTransferTag, 0);
                pong[0] |= 0x40;
                await SendAsync(pong, default, numbered: false).ConfigureAwait(false);
                return;
            case PduOpcode.AsyncMessage:
                _logoutRequested.TrySetResult();
                return;
            case PduOpcode.Reject:
                throw new IOException($"the target rejected a PDU, reason {header[2]:x2}h");
        }
        if (!_pending.TryGetValue(tag, out var pending)) return;
        if (opcode == PduOpcode.ReadyToTransfer)
        {
            await AnswerR2TAsync(pending, tag, header).ConfigureAwait(false);
            return;
        }
        if (opcode == PduOpcode.DataIn)
        {
            int offset = (int)new DataInPdu(header).BufferOffset;
            if (offset != pending.Received || data.Length > pending.DataIn.Length - offset) throw new IOException("Data-In out of order or past the expected length");
            data.CopyTo(pending.DataIn.AsSpan(offset));
            pending.Received += data.Length;
            if ((header[1] & DataInPdu.HasStatus) == 0) return;
            data = [];
        }
        _pending.TryRemove(tag, out _);
        pending.Answer.TrySetResult((header, data));
    }

    private async Task AnswerR2TAsync(PendingAnswer pending, uint tag, byte[] header)
    {
        uint transferTag = new Bhs(header).TargetTransferTag, offset = new ReadyToTransferPdu(header).BufferOffset, length = new ReadyToTransferPdu(header).DesiredLength;
        if (offset + (ulong)length > (ulong)(pending.DataOut?.Length ?? 0)) throw new IOException("an R2T past the data");
        await _send.WaitAsync().ConfigureAwait(false);
        try
        {
            await SendDataOutAsync(pending, tag, transferTag, (int)offset, (int)length).ConfigureAwait(false);
        }
        finally
        {
            _send.Release();
        }
    }

    private void Fail(Exception reason)
    {
        _failure ??= reason;
        _logoutRequested.TrySetResult();
        foreach (var tag in _pending.Keys)
            if (_pending.TryRemove(tag, out var pending)) pending.Answer.TrySetException(new IOException("the connection has ended", reason));
    }
}
