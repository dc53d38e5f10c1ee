using System.Runtime.Versioning;
using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Linux;
using LunKit.Scsi;
using Microsoft.Extensions.Logging;

namespace LunKit.LogicalUnits;

/// <summary>
/// One flush of a disk that is passed through. A device may answer the command with something else that it has to say, and not carry it out: then it is
/// sent again, for nobody else will.
/// </summary>
[SupportedOSPlatform("linux")]
internal sealed class DeviceFlush(IScsiDevice device, string path, string name, TimeSpan timeout, FileWorkers workers, TimeProvider time, ILogger log)
{
    // A device queues a few unit attentions; one that always has another is broken.
    private const int MostReports = 16;
    private const byte PowerOnOrReset = 0x29;

    // Half of the time that a closing unit has.
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(15), s_pause = TimeSpan.FromMilliseconds(100);

    private readonly byte[] _sense = new byte[SenseData.MaxLength];
    private int _reports;

    private enum Next { Done, Again, Later, Failed }

    /// <exception cref="IOException">What the disk has cached may not be on its medium.</exception>
    public async ValueTask RunAsync()
    {
        long start = time.GetTimestamp();
        while (true)
        {
            var (next, why) = await TryAsync().ConfigureAwait(false);
            if (next == Next.Done) return;
            bool repeats = next == Next.Again ? ++_reports <= MostReports : next == Next.Later && time.GetElapsedTime(start) < s_patience;
            if (!repeats) throw new IOException($"{path} does not flush its cache ({why})");
            if (next == Next.Later) await Task.Delay(s_pause, time).ConfigureAwait(false);
        }
    }

    private async ValueTask<(Next Next, string Why)> TryAsync()
    {
        var result = default(ScsiDeviceResult);
        Array.Clear(_sense);
        try
        {
            await workers.RunAsync(f => result = f.Send(), this).ConfigureAwait(false);
        }
        // The kernel has no room for it now. Whatever else fails, fails the flush.
        catch (LinuxException e) when (e.IsTransient)
        {
            return (Next.Later, e.Message);
        }
        string why = $"status {result.Status:X2}h, host {result.HostStatus:X2}h";
        if (result.HostStatus != 0) return (IsPassing(result.HostStatus) ? Next.Later : Next.Failed, why);
        return (ScsiStatus)result.Status switch
        {
            ScsiStatus.Good => (Next.Done, why),
            ScsiStatus.Busy or ScsiStatus.TaskSetFull => (Next.Later, why),
            ScsiStatus.CheckCondition => (After(SenseData.Parse(_sense), SenseData.IsDeferred(_sense)), $"{why}, sense {SenseData.Parse(_sense)}"),
            _ => (Next.Failed, why),
        };
    }

    private ScsiDeviceResult Send() => device.Execute([0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], default, toDevice: true, _sense, timeout);

    private Next After(Sense sense, bool isDeferred)
    {
        // It is about an earlier command: this one was not carried out (SPC-5 4.5.7). A failure may be of what is to be flushed.
        if (isDeferred) return sense.Key is SenseKey.NoSense or SenseKey.RecoveredError or SenseKey.UnitAttention ? Next.Again : Next.Failed;
        // INVALID COMMAND OPERATION CODE: it has no cache.
        if (sense.Key == SenseKey.IllegalRequest) return Next.Done;
        if (sense.Key == SenseKey.RecoveredError) return Next.Done;
        if (sense == Sense.BecomingReady) return Next.Later;
        if (sense.Key is not (SenseKey.UnitAttention or SenseKey.AbortedCommand)) return Next.Failed;
        string hint = sense.Asc == PowerOnOrReset ? "; if it has lost its power, writes that were in its cache only are lost" : "";
        LogMessages.FlushIsRepeated(log, name, sense.ToString(), hint);
        return Next.Again;
    }

    /// <summary>What the kernel's SCSI layer itself tries again: DID_BUS_BUSY, DID_RESET, DID_SOFT_ERROR, DID_IMM_RETRY, DID_REQUEUE, DID_TRANSPORT_DISRUPTED.</summary>
    private static bool IsPassing(int hostStatus) => hostStatus is 0x02 or 0x08 or 0x0B or 0x0C or 0x0D or 0x0E;
}
