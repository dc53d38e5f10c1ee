using System.Runtime.InteropServices;
using Xunit;

namespace LunKit.Conformance.Kernel;

/// <summary>
/// `lunkit handle` on the real kernel's TCMU, in a virtual machine: one boot for all cases of guest.sh, each a test of its own here. The
/// binary is the one that <see cref="NativeAotTests"/> builds.
/// </summary>
public sealed class KernelTests(KernelTests.Lab lab) : IClassFixture<KernelTests.Lab>
{
    private static readonly string[] s_cases =
    [
        "FileSystemSurvivesTheRoundTrip", "FioVerifies", "KilledHandlerIsTakenOver", "StoppedHandlerIsTakenOver", "DiskGrowsInUse",
        "AccessStatesAreTheKernels", "AnotherConfigurationIsRefused", "UnknownSubtypeIsRefused", "MissingFolderIsRefused", "BusyImageIsRefused", "CommandsWork",
        "RemovedDuringIo", "EnabledWithNobodyListening", "WriteCacheFollowsTheKernel", "NamesAreTheKernels",
        "AttachMakesADisk", "AttachKeepsAMountedDisk", "DetachAfterACrash", "AttachRefusesClearly", "KernelIscsiTargetExports",
        "BlockDeviceKeepsTheContract", "PassThroughDiskKeepsTheContract", "PassThroughFailuresKeepTheContract", "FullFileSystemKeepsTheContract", "PassThroughDiskAnswers", "PassThroughTapeAnswers",
        "RbdImageIsADisk", "KilledRbdHandlerIsTakenOver", "GlusterFileIsADisk", "KilledGlusterHandlerIsTakenOver",
        "UserSpaceTargetServesTheSameHandlers", "SampleHandlersAnswer", "TargetcliWorks",
    ];

    public static TheoryData<string> Cases => [.. s_cases, "HandlerEndsClean"];

    [Theory, MemberData(nameof(Cases))]
    public void Passes(string name)
    {
        string? missing = lab.Missing ?? (name.Contains("Rbd", StringComparison.Ordinal) ? CephCluster.Missing : name.Contains("Gluster", StringComparison.Ordinal) ? GlusterCluster.Missing : null);
        Assert.SkipWhen(missing is not null, missing ?? "");
        string? line = lab.Output.Split('\n').FirstOrDefault(l => l.StartsWith($"PASS {name}", StringComparison.Ordinal) || l.StartsWith($"FAIL {name}:", StringComparison.Ordinal));
        Assert.True(line is not null, $"{name} did not end:\n{lab.Output}");
        Assert.True(line.StartsWith("PASS", StringComparison.Ordinal), line.Replace('~', '\n'));
    }

    /// <summary>The virtual machine's one run.</summary>
    public sealed class Lab : IAsyncLifetime
    {
        public string Output { get; private set; } = "";

        public string? Missing { get; private set; }

        public async ValueTask InitializeAsync()
        {
            if (RuntimeInformation.ProcessArchitecture != Architecture.X64) Missing = "needs an x86-64 machine: the virtual machine's kernel is for it";
            else if (!File.Exists(Path.Combine(Repository.Root, "artifacts/vm/kernel/done"))) Missing = "needs Debian's kernel (eng/install-test-tools gets it)";
            if (Missing is not null) return;
            string lunkit = await NativeAot.PublishAsync();
            // The clusters run beside the virtual machine; what is missing fails its own cases only, which are skipped then.
            string rbd = "", glfs = "", reach = CephCluster.Host;
            if (CephCluster.Missing is null)
            {
                var ceph = await CephCluster.SharedAsync();
                await ceph.CreateAsync("kernel", 32);
                rbd = $"rbd/rbd/kernel;conf={ceph.Conf};id=admin";
            }
            if (GlusterCluster.Missing is null)
            {
                var gluster = await GlusterCluster.SharedAsync();
                await gluster.CreateAsync("kernel", 32);
                (glfs, reach) = ($"glfs/gv0@{gluster.Host}/kernel", $"{reach} {gluster.Host}");
            }
            (_, Output) = await Tool.RunAsync(Path.Combine(Repository.Root, "eng/vm"),
                ["--seconds", "900", "--reach", reach, "--modules", "target_core_user tcm_loop sd_mod sg ext4 iscsi_target_mod iscsi_tcp crc32c_generic loop st",
                    "env", $"RBD={rbd}", $"GLFS={glfs}", "bash", Path.Combine(Repository.Root, "tests/LunKit.Conformance/Kernel/guest.sh"), Repository.Root, lunkit, .. s_cases], limitSeconds: 930);
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
