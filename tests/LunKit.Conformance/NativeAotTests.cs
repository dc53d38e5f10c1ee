using System.Runtime.InteropServices;
using Xunit;

namespace LunKit.Conformance;

/// <summary>The program compiled ahead of time: it builds without a warning and serves.</summary>
public sealed class NativeAotTests
{
    [Fact]
    public async Task BuildsAndServes()
    {
        Tool.Require("gcc");
        Tool.Require("qemu-io");
        string rid = $"linux-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}", folder = Path.Combine(Repository.Root, "artifacts/aot");
        // Warnings are errors in this repository, those of the trimmer too.
        await Tool.MustRunAsync("dotnet",
            ["publish", "-c", "Release", "--nologo", "-r", rid, "-p:PublishAot=true", "-p:CppCompilerAndLinker=gcc", "-o", folder, Path.Combine(Repository.Root, "src/LunKit.App")],
            limitSeconds: 600);
        await using var server = await LunKitProcess.StartProgramAsync([Path.Combine(folder, "LunKit.App")], "memory:64M");
        string output = await Tool.MustRunAsync("qemu-io",
            ["-f", "raw", "-c", "write -P 0x5A 1M 3M", "-c", "flush", "-c", "read -P 0x5A 1M 3M", "-c", "read -P 0 4M 1M", server.Url(0)]);
        Assert.DoesNotContain("verification failed", output, StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }
}
