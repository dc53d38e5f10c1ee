using System.Diagnostics;
using System.Globalization;
using LunKit.App.Serve;
using LunKit.Linux;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Kernel;

namespace LunKit.App.Attach;

/// <summary>
/// A disk that <c>lunkit attach</c> made: a user backstore whose configuration names the process that answers for it, and the fabrics
/// that offer it. It is found again in configfs, so that another process can clean up.
/// </summary>
internal sealed record Attachment(string Name, int ProcessId, UserBackstore Backstore)
{
    /// <summary>HBA of all attachments.</summary>
    public const int Hba = 0;

    private const string SubtypePrefix = "attach.";
    private static readonly TimeSpan s_writing = TimeSpan.FromSeconds(5);

    /// <summary>A subtype of its own keeps other handlers away.</summary>
    public static string SubtypeOf(string name) => SubtypePrefix + name;

    public static string ConfigOf(string name, int processId) => $"{SubtypeOf(name)}/{processId.ToString(CultureInfo.InvariantCulture)}";

    /// <summary>All attachments of this machine.</summary>
    public static IReadOnlyList<Attachment> All(KernelTarget target) => [.. target.Backstores().Select(Read).OfType<Attachment>()];

    private static Attachment? Read(UserBackstore backstore)
    {
        try
        {
            string config = backstore.Config;
            int slash = config.IndexOf('/', StringComparison.Ordinal);
            bool ours = config.StartsWith(SubtypePrefix, StringComparison.Ordinal) && slash > 0 && config[SubtypePrefix.Length..slash] == backstore.Name;
            return ours && int.TryParse(config.AsSpan(slash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int pid) ? new Attachment(backstore.Name, pid, backstore) : null;
        }
        catch (IOException)
        {
            // Going away just now.
            return null;
        }
    }

    /// <summary>Whether the process that made it still answers for it.</summary>
    public bool IsAlive => UioPath is { } uio && OpenFiles.HolderOf(uio)?.Id == ProcessId;

    private string? UioPath => UioDevice.Find().FirstOrDefault(d => d.Name.Hba == Hba && d.Name.Name == Name)?.Path;

    /// <summary>The local disk, e.g. <c>/dev/sda</c>; null when there is none (yet).</summary>
    public string? Disk(KernelTarget target) => ScsiDevice(target) is { } device && Directory.Exists(Path.Combine(device, "block"))
        ? Directory.GetDirectories(Path.Combine(device, "block")).Select(d => "/dev/" + Path.GetFileName(d)).FirstOrDefault() : null;

    private string? ScsiDevice(KernelTarget target) => target.ExportsOf(Backstore)
        .Where(e => e.Fabric == "loopback" && e.Group.Address is not null).Select(e => $"/sys/bus/scsi/devices/{e.Group.Address}:{e.Number}").FirstOrDefault(Directory.Exists);

    /// <summary>
    /// Removes all of it, in the order that loses nothing: the disk (the kernel flushes it through the handler), the fabric, the backstore.
    /// </summary>
    /// <param name="target">The kernel's target.</param>
    /// <param name="hasHandler">Whether somebody still answers; if not, what waits fails instead of waiting for its time-out.</param>
    public void Remove(KernelTarget target, bool hasHandler)
    {
        if (!hasHandler && Backstore.Exists)
        {
            string? device = ScsiDevice(target);
            if (device is not null) TryTakeOffline(device);
            Backstore.Block(true);
            Backstore.FailRing();
            // What was out has failed: nothing keeps the disk from taking the word.
            if (device is not null) TryForgetCache(device);
        }
        foreach (var export in target.ExportsOf(Backstore))
        {
            export.Group.RemoveLun(export.Number);
            if (export.Group.Luns().Count == 0) export.Group.RemoveAll();
        }
        if (!Backstore.Exists) return;
        Backstore.Remove();
    }

    /// <summary>What waits for the process that is gone fails, instead of waiting for its time-out.</summary>
    public void FailCommands()
    {
        try
        {
            Backstore.Block(true);
            Backstore.FailRing();
            Backstore.Block(false);
        }
        catch (IOException)
        {
            // It is going away.
        }
    }

    /// <summary>Commands that wait fail.</summary>
    private static void TryTakeOffline(string device) => TryWrite(device, "state", "offline");

    /// <summary>
    /// The kernel flushes the cache of a disk that it lets go of, also of one that is offline, and repeats for minutes what the blocked device answers
    /// BUSY; meanwhile every other command that touches the target hangs. A disk without a cache is not flushed, and this one's is gone with its process.
    /// </summary>
    private static void TryForgetCache(string device) =>
        TryWrite(device, $"scsi_disk/{Path.GetFileName(device)}/cache_type", "temporary write through");

    /// <summary>Writes, for some seconds at most: the kernel may wait for what is out.</summary>
    private static void TryWrite(string device, string file, string value)
    {
        var writing = new Thread(() =>
        {
            try
            {
                new ConfigFolder(device).Write(file, value);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // A device that is going away takes nothing any more.
            }
        }) { IsBackground = true, Name = "lunkit-detach" };
        writing.Start();
        writing.Join(s_writing);
    }

    /// <summary>Asks the process to end, and waits until all is gone.</summary>
    /// <param name="limit">How long to wait.</param>
    /// <param name="again">Ask again and again, which it takes to remove a disk that is in use.</param>
    public async Task StopAsync(TimeSpan limit, bool again)
    {
        long start = Stopwatch.GetTimestamp(), asked = 0;
        while (Backstore.Exists)
        {
            if (Stopwatch.GetElapsedTime(start) > limit) throw new UserException($"{Name} is still there after {limit.TotalSeconds:F0} s; its process {ProcessId} says why");
            if (asked == 0 || again && Stopwatch.GetElapsedTime(asked).TotalSeconds > 1)
            {
                Ask();
                asked = Stopwatch.GetTimestamp();
            }
            await Task.Delay(50);
        }
    }

    private void Ask()
    {
        try
        {
            Signals.Terminate(ProcessId);
        }
        catch (LinuxException e)
        {
            throw new UserException($"{Name}: process {ProcessId} cannot be asked to end: {e.Message}");
        }
    }
}
