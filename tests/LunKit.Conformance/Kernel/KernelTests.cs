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
        "BlockDeviceKeepsTheContract", "PassThroughDiskKeepsTheContract", "PassThroughDiskAnswers", "PassThroughTapeAnswers",
        "UserSpaceTargetServesTheSameHandlers", "SampleHandlersAnswer", "TargetcliWorks",
    ];

    public static TheoryData<string> Cases => [.. s_cases, "HandlerEndsClean"];

    [Theory, MemberData(nameof(Cases))]
    public void Passes(string name)
    {
        Assert.SkipWhen(lab.Missing is not null, lab.Missing ?? "");
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
            (_, Output) = await Tool.RunAsync(Path.Combine(Repository.Root, "eng/vm"),
                ["--seconds", "900", "--modules", "target_core_user tcm_loop sd_mod sg ext4 iscsi_target_mod iscsi_tcp crc32c_generic loop st",
                    "bash", Path.Combine(Repository.Root, "tests/LunKit.Conformance/Kernel/guest.sh"), Repository.Root, lunkit, .. s_cases], limitSeconds: 930);
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
