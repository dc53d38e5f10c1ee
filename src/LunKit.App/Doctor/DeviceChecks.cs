using LunKit.App.Handle;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Kernel;

namespace LunKit.App.Doctor;

/// <summary>The kernel's user backstores: who handles what, and what keeps it from that.</summary>
internal static class DeviceChecks
{
    public static IEnumerable<Finding> Run(Machine machine)
    {
        var target = machine.Target;
        var uio = UioDevice.Find(machine.Sys);
        var processes = RunningProcess.All(machine);
        var backstores = target.Exists ? target.Backstores() : [];
        if (backstores.Count == 0) yield return new(Verdict.Good, "there are no user backstores");
        foreach (var backstore in backstores) yield return Check(machine, target, backstore, uio, processes);
        foreach (var waiting in WaitChecks.Run(machine, processes)) yield return waiting;
    }

    private static Finding Check(Machine machine, KernelTarget target, UserBackstore backstore, IReadOnlyList<UioDevice> all, IReadOnlyList<RunningProcess> processes)
    {
        string what = $"user_{HbaOf(backstore)}/{backstore.Name}";
        try
        {
            string named = $"{what} ({backstore.Config})";
            if (!backstore.IsEnabled) return new(Verdict.Note, $"{named} is not enabled", $"echo 1 > {backstore.FolderPath}/enable");
            var device = all.FirstOrDefault(d => d.Name.ConfigFsPath == what);
            if (device is null) return new(Verdict.Bad, $"{named} has no UIO device", "is the module uio loaded, and /sys there?");
            string node = Path.Combine(machine.Dev, $"uio{device.Number}");
            if (!File.Exists(node)) return new(Verdict.Bad, $"{named}: {node} is missing", "udev makes it; in a container pass /dev in");
            var exports = target.ExportsOf(backstore);
            string offered = exports.Count == 0 ? "not exported" : "exported by " + string.Join(", ", exports.Select(e => $"{e.Fabric} {e.Target} LUN {e.Number}"));
            return processes.FirstOrDefault(p => p.Has(node)) is { } holder ? Handled(machine, backstore, device, named, holder, offered)
                : Unhandled(backstore, device, named, processes.FirstOrDefault(p => p.IsHandler), offered, exports.Count > 0);
        }
        catch (IOException e)
        {
            return new(Verdict.Note, $"{what} cannot be read: {e.Message}");
        }
    }

    private static Finding Handled(Machine machine, UserBackstore backstore, UioDevice device, string named, RunningProcess holder, string offered)
    {
        if (holder.IsStopped)
            return new(Verdict.Bad, $"{named} is handled by {holder}, which is stopped (SIGSTOP, or a debugger): its commands wait, and fail after {Patience(backstore)}", $"kill -CONT {holder.Id}");
        if (IsBlocked(backstore))
            return new(Verdict.Bad, $"{named} is blocked: its commands are answered BUSY, though {holder} handles it", $"echo 0 > {backstore.FolderPath}/action/block_dev");
        // Deleted in use; or the handler, which opens the device before its image, is just about to find out.
        if (SubtypeOf(device)?.Missing(device.Name.Path) is { } missing)
        {
            return new(Verdict.Bad, $"{named}: its image {missing} is missing, though {holder} has the device: it was deleted in use, or {holder.Command} looks for it in vain",
                $"move the image back; one that was deleted in use can be copied from /proc/{holder.Id}/fd until {holder.Command} ends");
        }
        if (SubtypeOf(device)?.Image(device.Name.Path) is { } image && machine.LacksRoom(image))
            return new(Verdict.Bad, $"{named}: the file system of {image} is full: writes to blocks that are not allocated yet fail", "make room in it; nothing has to be started anew");
        string handled = $"{named} is handled by {holder}, {offered}";
        // -1: whoever made it did not want that; 0: no handler wanted replies then.
        return backstore.Has("attrib/nl_reply_supported") && backstore.ReadNumber("attrib/nl_reply_supported") == 0
            ? new(Verdict.Note, $"{handled}; netlink replies are off for it: whoever changes or removes it is not told when its handler cannot",
                "make it anew while `lunkit handle` runs without --no-replies")
            : new(Verdict.Good, handled);
    }

    private static Finding Unhandled(UserBackstore backstore, UioDevice device, string named, RunningProcess? handler, string offered, bool isExported)
    {
        var subtype = SubtypeOf(device);
        if (subtype?.Missing(device.Name.Path) is { } image)
        {
            return new(Verdict.Bad, $"{named} has no handler: its image {image} is missing, {offered}",
                "mount its file system, or move the image back; `lunkit handle` takes the device up within seconds then");
        }
        var verdict = isExported ? Verdict.Bad : Verdict.Note;
        if (subtype is not null && handler is { IsStopped: true })
            return new(verdict, $"{named} has no handler, {offered}, and {handler} is stopped (SIGSTOP, or a debugger)", $"kill -CONT {handler.Id}");
        if (subtype is not null && handler is not null)
            return new(verdict, $"{named} has no handler, {offered}, though {handler} runs", "the log of `lunkit handle` says why it does not serve it; it tries again every two seconds");
        bool isAttached = device.Name.Subtype.StartsWith("attach.", StringComparison.Ordinal);
        return new(verdict, $"{named} has no handler, {offered}",
            $"start the handler of '{device.Name.Subtype}' (lunkit handle); commands fail after {Patience(backstore)}{(isAttached ? $", or remove it: lunkit detach {backstore.Name}" : "")}");
    }

    private static Subtype? SubtypeOf(UioDevice device) => Subtype.BuiltIn.FirstOrDefault(s => s.Name == device.Name.Subtype);

    private static string Patience(UserBackstore backstore) => $"{backstore.Read("attrib/cmd_time_out")} s";

    private static bool IsBlocked(UserBackstore backstore) => backstore.Has("action/block_dev") && backstore.Read("action/block_dev").Trim() == "blocked";

    private static string HbaOf(UserBackstore backstore) => Path.GetFileName(Path.GetDirectoryName(backstore.FolderPath)!)["user_".Length..];
}
