using System.Globalization;
using LunKit.App.Handle;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Kernel;

namespace LunKit.App.Doctor;

/// <summary>The kernel's user backstores: who handles what, and who waits for it.</summary>
internal static class DeviceChecks
{
    public static IEnumerable<Finding> Run()
    {
        var target = new KernelTarget();
        var uio = UioDevice.Find();
        var backstores = target.Exists ? target.Backstores() : [];
        if (backstores.Count == 0) yield return new(Verdict.Good, "there are no user backstores");
        foreach (var backstore in backstores) yield return Check(target, backstore, uio);
        foreach (var waiting in Waiting()) yield return waiting;
    }

    private static Finding Check(KernelTarget target, UserBackstore backstore, IReadOnlyList<UioDevice> all)
    {
        string what = $"user_{HbaOf(backstore)}/{backstore.Name}";
        try
        {
            if (!backstore.IsEnabled) return new(Verdict.Note, $"{what} ({backstore.Config}) is not enabled", $"echo 1 > {backstore.FolderPath}/enable");
            var device = all.FirstOrDefault(d => d.Name.ConfigFsPath == what);
            if (device is null) return new(Verdict.Bad, $"{what} ({backstore.Config}) has no UIO device", "is the module uio loaded, and /sys there?");
            var exports = target.ExportsOf(backstore);
            string offered = exports.Count == 0 ? "not exported" : "exported by " + string.Join(", ", exports.Select(e => $"{e.Fabric} {e.Target} LUN {e.Number}"));
            if (!File.Exists(device.Path)) return new(Verdict.Bad, $"{what} ({backstore.Config}): {device.Path} is missing", "udev makes it; in a container pass /dev in");
            var holder = OpenFiles.HolderOf(device.Path);
            if (holder is not null && IsBlocked(backstore))
            {
                return new(Verdict.Bad, $"{what} ({backstore.Config}) is blocked: its commands are answered BUSY, though {holder.Command}, process {holder.Id}, handles it",
                    $"echo 0 > {backstore.FolderPath}/action/block_dev");
            }
            if (holder is not null)
                return new(Verdict.Good, $"{what} ({backstore.Config}) is handled by {holder.Command}, process {holder.Id}, {offered}");
            if (Subtype.BuiltIn.FirstOrDefault(s => s.Name == device.Name.Subtype)?.Missing(device.Name.Path) is { } image)
            {
                return new(Verdict.Bad, $"{what} ({backstore.Config}) has no handler: its image {image} is missing, {offered}",
                    "mount its file system, or move the image back; `lunkit handle` takes the device up within seconds then");
            }
            return new(exports.Count > 0 ? Verdict.Bad : Verdict.Note, $"{what} ({backstore.Config}) has no handler, {offered}",
                $"start the handler of '{device.Name.Subtype}' (lunkit handle); commands fail after {backstore.Read("attrib/cmd_time_out")} s{(device.Name.Subtype.StartsWith("attach.", StringComparison.Ordinal) ? $", or remove it: lunkit detach {backstore.Name}" : "")}");
        }
        catch (IOException e)
        {
            return new(Verdict.Note, $"{what} cannot be read: {e.Message}");
        }
    }

    private static bool IsBlocked(UserBackstore backstore) => backstore.Has("action/block_dev") && backstore.Read("action/block_dev").Trim() == "blocked";

    private static string HbaOf(UserBackstore backstore) => Path.GetFileName(Path.GetDirectoryName(backstore.FolderPath)!)["user_".Length..];

    /// <summary>Processes that sleep in the kernel's target and cannot be killed: somebody owes the kernel an answer.</summary>
    private static IEnumerable<Finding> Waiting()
    {
        foreach (string folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out int pid) || WhereItSleeps(folder) is not { } function) continue;
            yield return new(Verdict.Bad, $"process {pid} ({OpenFiles.NameOf(pid)}) waits in the kernel ({function})", function.Contains("genl", StringComparison.Ordinal)
                ? "a handler owes the kernel a reply: start `lunkit handle`, which releases those that wait for ever"
                : "a command is out that no handler answers: start its handler, or wait for cmd_time_out");
        }
    }

    private static string? WhereItSleeps(string process)
    {
        try
        {
            string stat = File.ReadAllText(Path.Combine(process, "stat"));
            if (!stat[(stat.LastIndexOf(')') + 1)..].TrimStart().StartsWith('D')) return null;
            string function = File.ReadAllText(Path.Combine(process, "wchan"));
            return function.StartsWith("tcmu_", StringComparison.Ordinal) || function.StartsWith("tcm_", StringComparison.Ordinal) || function.StartsWith("target_", StringComparison.Ordinal)
                || function.StartsWith("transport_", StringComparison.Ordinal) || function.StartsWith("core_tmr", StringComparison.Ordinal) ? function : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
