using Xunit;

namespace LunKit.Conformance.Kernel;

/// <summary>
/// `lunkit handle` on the real kernel's TCMU, in a virtual machine: one boot for all cases of guest.sh, each a test of its own here. The
/// binary is the one that <see cref="NativeAotTests"/> builds.
/// </summary>
public sealed class KernelTests(KernelTests.Machine lab) : IClassFixture<KernelTests.Machine>
{
    private static readonly string[] s_cases =
    [
        .. KernelLab.Cases, "RbdImageIsADisk", "KilledRbdHandlerIsTakenOver", "GlusterFileIsADisk", "KilledGlusterHandlerIsTakenOver",
    ];

    public static TheoryData<string> Cases => [.. s_cases, KernelLab.End];

    [Theory, MemberData(nameof(Cases))]
    public void Passes(string name)
    {
        string? missing = lab.Missing ?? (name.Contains("Rbd", StringComparison.Ordinal) ? CephCluster.Missing : name.Contains("Gluster", StringComparison.Ordinal) ? GlusterCluster.Missing : null);
        Assert.SkipWhen(missing is not null, missing ?? "");
        lab.AssertPassed(name);
    }

    /// <summary>The kernel of this machine's Debian, with the clusters beside it.</summary>
    public sealed class Machine() : KernelLab(null, s_cases, clusters: true);
}

/// <summary>The same on a newer kernel, without the clusters.</summary>
public sealed class NewerKernelTests(NewerKernelTests.Machine lab) : IClassFixture<NewerKernelTests.Machine>
{
    public static TheoryData<string> Cases => [.. KernelLab.Cases, KernelLab.End];

    [Theory, MemberData(nameof(Cases))]
    public void Passes(string name)
    {
        Assert.SkipWhen(lab.Missing is not null, lab.Missing ?? "");
        lab.AssertPassed(name);
    }

    /// <summary>The kernel of Debian's backports.</summary>
    public sealed class Machine() : KernelLab("bookworm-backports", KernelLab.Cases, clusters: false);
}
