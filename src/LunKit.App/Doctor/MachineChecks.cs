using System.Runtime.InteropServices;
using LunKit.App.Handle;
using LunKit.Tcmu;
using LunKit.Tcmu.ConfigFs;

namespace LunKit.App.Doctor;

/// <summary>What the machine has: kernel, rights, modules, configfs.</summary>
internal static class MachineChecks
{
    private sealed record Module(string Name, string Purpose, bool IsNeeded);

    private static readonly Module[] s_modules =
    [
        new("target_core_mod", "the kernel's target", true),
        new("target_core_user", "user backstores (TCMU): lunkit handle, lunkit attach", true),
        new("tcm_loop", "local disks: lunkit attach", false),
        new("sd_mod", "local disks: lunkit attach", false),
        new("iscsi_target_mod", "the kernel's iSCSI target: lunkit attach --iscsi", false),
    ];

    private static string LoadUserBackstores => KernelModules.IsAvailable("target_core_user") ? "modprobe target_core_user" : "it comes with the module target_core_user, which this kernel does not have (see above)";

    public static IEnumerable<Finding> Run(Machine machine) =>
        [Kernel(), Rights(), .. s_modules.Select(Check), ConfigFs(), Target(), .. ReservationFolder(), Netlink(), .. Replies(machine), .. Handlers(machine)];

    private static Finding Kernel()
    {
        string text = $"Linux {File.ReadAllText("/proc/sys/kernel/osrelease").Trim()}, {RuntimeInformation.OSArchitecture}";
        return Environment.Is64BitProcess && BitConverter.IsLittleEndian
            ? new(Verdict.Good, text)
            : new(Verdict.Bad, text, "LunKit reads the kernel's rings on 64-bit little-endian machines only");
    }

    private static Finding Rights() => Environment.IsPrivilegedProcess
        ? new(Verdict.Good, "running as root")
        : new(Verdict.Note, "not running as root: some of the following cannot be seen", "lunkit handle, attach and detach need root; lunkit serve does not");

    private static Finding Check(Module module)
    {
        if (KernelModules.IsLoaded(module.Name)) return new(Verdict.Good, $"{module.Name} is loaded ({module.Purpose})");
        return KernelModules.IsAvailable(module.Name)
            ? new(Verdict.Good, $"{module.Name} can be loaded ({module.Purpose})")
            : new(module.IsNeeded ? Verdict.Bad : Verdict.Note, $"{module.Name} is missing ({module.Purpose})",
                "this kernel has no such module: use another (Debian's linux-image has it), or `lunkit serve`, which needs no module");
    }

    private static Finding ConfigFs() => File.ReadLines("/proc/mounts").Any(l => l.Split(' ') is [_, "/sys/kernel/config", "configfs", ..])
        ? new(Verdict.Good, "configfs is mounted")
        : new(Verdict.Bad, "configfs is not mounted", "modprobe configfs; mount -t configfs none /sys/kernel/config (in a container: the host's must be passed in)");

    private static Finding Target()
    {
        var target = new KernelTarget();
        return target.Exists ? new(Verdict.Good, $"the kernel's target is at {target.FolderPath}") : new(Verdict.Bad, $"{target.FolderPath} is not there", LoadUserBackstores);
    }

    /// <summary>Without its folder the kernel answers PERSISTENT RESERVE OUT with NOT READY, and says why only in its log.</summary>
    private static IEnumerable<Finding> ReservationFolder()
    {
        var target = new KernelTarget();
        if (!target.Has("dbroot")) yield break;
        string folder = Path.Combine(target.Read("dbroot"), "pr");
        yield return Directory.Exists(folder)
            ? new(Verdict.Good, $"persistent reservations are kept in {folder}")
            : new(Verdict.Note, $"{folder} is not there: the kernel's persistent reservations will fail", $"mkdir -p {folder}");
    }

    private static Finding Netlink()
    {
        string? reason = TcmuHandler.WhyNot();
        return reason is null ? new(Verdict.Good, "the kernel tells handlers of devices (netlink TCM-USER)") : new(Verdict.Bad, $"no netlink TCM-USER: {reason}", LoadUserBackstores);
    }

    internal static IEnumerable<Finding> Replies(Machine machine)
    {
        string parameter = Path.Combine(machine.Sys, "module/target_core_user/parameters/block_netlink");
        if (File.Exists(parameter) && File.ReadAllText(parameter).Trim() is "blocked" or "1" or "Y")
            yield return new(Verdict.Bad, "the kernel holds back news of devices (block_netlink): nobody can make, change or remove one", $"a handler died while it started; start one again, or: echo 0 > {parameter}");
    }

    /// <summary>The handlers that run, and how they get on.</summary>
    internal static IEnumerable<Finding> Handlers(Machine machine)
    {
        var all = RunningProcess.All(machine);
        foreach (var handler in all.Where(p => p.IsHandler))
        {
            yield return handler.IsStopped
                ? new(Verdict.Bad, $"{handler}, is stopped (SIGSTOP, or a debugger): whoever makes, changes or removes a device waits for it", $"kill -CONT {handler.Id}")
                : new(Verdict.Good, $"{handler}, handles devices");
        }
        foreach (var runner in all.Where(p => p.Command == "tcmu-runner"))
        {
            yield return new(Verdict.Note, $"{runner}, runs beside LunKit: it refuses the new devices of every subtype that it does not know",
                "make new devices with nl_reply_supported=-1 in their control (lunkit attach does) and run lunkit handle --no-replies; or stop it: systemctl disable --now tcmu-runner");
        }
    }
}
