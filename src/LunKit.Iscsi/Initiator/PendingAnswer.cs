using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Iscsi.Initiator;

/// <summary>What waits for an answer of the target: a command with its data, or a request without any.</summary>
internal sealed class PendingAnswer(byte[]? dataOut, int dataInLength)
{
    public byte[]? DataOut { get; } = dataOut;
    public byte[] DataIn { get; } = new byte[dataInLength];
    public int Received { get; set; }
    public ulong Lun { get; init; }
    public TaskCompletionSource<(byte[] Bhs, byte[] Data)> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The answer to a SCSI command.</summary>
    public async Task<ScsiAnswer> AnswerAsync()
    {
        var (bhs, data) = await Answer.Task.ConfigureAwait(false);
        var flags = bhs[1];
        uint count = new Bhs(bhs).Get(44);
        long residual = (flags & ScsiResponsePdu.Underflow) != 0 ? count : (flags & ScsiResponsePdu.Overflow) != 0 ? -count : 0;
        var sense = data.Length >= 2 ? data[2..Math.Min(data.Length, 2 + (data[0] << 8 | data[1]))] : [];
        return new ScsiAnswer((ScsiStatus)bhs[3], Received == DataIn.Length ? DataIn : DataIn[..Received], sense, residual);
    }
}
