using Xunit;

namespace LunKit.Conformance;

/// <summary>The program compiled ahead of time: it builds without a warning and serves.</summary>
public sealed class NativeAotTests
{
    [Fact]
    public async Task BuildsAndServes()
    {
        Tool.Require("qemu-io");
        await using var server = await LunKitProcess.StartProgramAsync([await NativeAot.PublishAsync()], "memory:64M");
        string output = await Tool.MustRunAsync("qemu-io",
            ["-f", "raw", "-c", "write -P 0x5A 1M 3M", "-c", "flush", "-c", "read -P 0x5A 1M 3M", "-c", "read -P 0 4M 1M", server.Url(0)]);
        Assert.DoesNotContain("verification failed", output, StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }
}
