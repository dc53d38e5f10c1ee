using System.Runtime.InteropServices;
using Xunit;

namespace LunKit.Conformance.Kernel;

/// <summary>One run of guest.sh in a virtual machine, and what became of each case.</summary>
/// <param name="suite">The suite of Debian that the kernel is from; null: this machine's.</param>
/// <param name="cases">What to run.</param>
/// <param name="clusters">Whether the clusters are there; what of them is missing fails its own cases only, which are skipped then.</param>
public abstract class KernelLab(string? suite, string[] cases, bool clusters) : IAsyncLifetime
{
    /// <summary>The case with which every run ends.</summary>
    public const string End = "HandlerEndsClean";

    /// <summary>What needs no cluster.</summary>
    public static readonly string[] Cases =
    [
        "FileSystemSurvivesTheRoundTrip", "FioVerifies", "KilledHandlerIsTakenOver", "StoppedHandlerIsTakenOver", "DiskGrowsInUse",
        "AccessStatesAreTheKernels", "AnotherConfigurationIsRefused", "UnknownSubtypeIsRefused", "MissingFolderIsRefused", "BusyImageIsRefused", "CommandsWork",
        "RemovedDuringIo", "EnabledWithNobodyListening", "WriteCacheFollowsTheKernel", "NamesAreTheKernels",
        "RefusedOnceCanBeMadeAgain", "SecondHandlerLeavesTheFirstAlone", "StartingHandlersEndNoWait", "MissingImageIsNotMadeAnew", "SizeCutsNothingOff", "SameConfigurationIsTaken", "AllPortsAreSeen",
        "AttachMakesADisk", "AttachKeepsAMountedDisk", "DetachAfterACrash", "DetachOfAFileAfterACrash", "AttachKeepsItsSize", "AttachRefusesClearly", "KernelIscsiTargetExports",
        "BlockDeviceKeepsTheContract", "PassThroughDiskKeepsTheContract", "PassThroughFailuresKeepTheContract", "FullFileSystemKeepsTheContract", "PassThroughDiskAnswers", "PassThroughRunsACommandOnce", "PassThroughTapeAnswers",
        "UserSpaceTargetServesTheSameHandlers", "SampleHandlersAnswer", "TargetcliWorks",
    ];

    /// <summary>What the machine has printed.</summary>
    public string Output { get; private set; } = "";

    /// <summary>What keeps it from running; null when nothing does.</summary>
    public string? Missing { get; private set; }

    public void AssertPassed(string name)
    {
        string? line = Output.Split('\n').FirstOrDefault(l => l.StartsWith($"PASS {name}", StringComparison.Ordinal) || l.StartsWith($"FAIL {name}:", StringComparison.Ordinal));
        Assert.True(line is not null, $"{name} did not end:\n{Output}");
        Assert.True(line.StartsWith("PASS", StringComparison.Ordinal), line.Replace('~', '\n'));
    }

    public async ValueTask InitializeAsync()
    {
        string kernel = suite is null ? "kernel" : $"kernel-{suite}";
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64) Missing = "needs an x86-64 machine: the virtual machine's kernel is for it";
        else if (!File.Exists(Path.Combine(Repository.Root, $"artifacts/vm/{kernel}/done"))) Missing = $"needs Debian's kernel ({(suite is null ? "eng/install-test-tools" : $"eng/get-kernel {suite}")} gets it)";
        if (Missing is not null) return;
        string lunkit = await NativeAot.PublishAsync();
        // The clusters run beside the virtual machine.
        string rbd = "", glfs = "", reach = CephCluster.Host;
        if (clusters && CephCluster.Missing is null)
        {
            var ceph = await CephCluster.SharedAsync();
            await ceph.CreateAsync("kernel", 32);
            rbd = $"rbd/rbd/kernel;conf={ceph.Conf};id=admin";
        }
        if (clusters && GlusterCluster.Missing is null)
        {
            var gluster = await GlusterCluster.SharedAsync();
            await gluster.CreateAsync("kernel", 32);
            (glfs, reach) = ($"glfs/gv0@{gluster.Host}/kernel", $"{reach} {gluster.Host}");
        }
        string[] options = suite is null ? [] : ["--kernel", suite];
        (_, Output) = await Tool.RunAsync(Path.Combine(Repository.Root, "eng/vm"),
            [.. options, "--seconds", "900", "--reach", reach, "--modules", "target_core_user tcm_loop sd_mod sg ext4 iscsi_target_mod iscsi_tcp crc32c_generic loop st",
                "env", $"RBD={rbd}", $"GLFS={glfs}", "bash", Path.Combine(Repository.Root, "tests/LunKit.Conformance/Kernel/guest.sh"), Repository.Root, lunkit, .. cases], limitSeconds: 930);
    }

    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }
}
