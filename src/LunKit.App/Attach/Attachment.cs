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
            if (ScsiDevice(target) is { } device) TryTakeOffline(device);
            Backstore.Block(true);
            Backstore.FailRing();
        }
        foreach (var export in target.ExportsOf(Backstore))
        {
            export.Group.RemoveLun(export.Number);
            if (export.Group.Luns().Count == 0) export.Group.RemoveAll();
        }
        if (!Backstore.Exists) return;
        Backstore.Remove();
    }

    /// <summary>Nobody would answer the cache flush with which the kernel lets go of a disk.</summary>
    private static void TryTakeOffline(string device)
    {
        try
        {
            new ConfigFolder(device).Write("state", "offline");
        }
        catch (IOException)
        {
            // A device that is going away takes no state any more.
        }
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
