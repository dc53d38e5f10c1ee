using Xunit;

namespace LunKit.Conformance;

/// <summary>QEMU's initiator (libiscsi inside qemu-img, qemu-io, qemu-nbd), alone and with fio over it.</summary>
public sealed class QemuTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-qemu-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string At(string name) => Path.Combine(_folder, name);

    [Theory]
    [InlineData("memory:96M")]
    [InlineData("file:{0}/lun.img,size=96M")]
    [InlineData("memory:96M,block=4096")]
    public async Task FileSystemImageGoesInAndComesBack(string spec)
    {
        Tool.Require("qemu-img");
        Tool.Require("mke2fs");
        string files = At("files"), image = At("fs.img"), back = At("back.img");
        Directory.CreateDirectory(files);
        foreach (string source in Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.cs", SearchOption.AllDirectories))
            File.Copy(source, Path.Combine(files, Guid.NewGuid() + Path.GetFileName(source)));
        await Tool.MustRunAsync("mke2fs", ["-q", "-t", "ext4", "-d", files, image, "96M"]);
        await using var server = await LunKitProcess.StartAsync(spec.Replace("{0}", _folder, StringComparison.Ordinal));
        await Tool.MustRunAsync("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", image, server.Url(0)]);
        await Tool.MustRunAsync("qemu-img", ["compare", "-f", "raw", "-F", "raw", image, server.Url(0)]);
        await Tool.MustRunAsync("qemu-img", ["convert", "-f", "raw", "-O", "raw", server.Url(0), back]);
        Assert.True(File.ReadAllBytes(image).AsSpan().SequenceEqual(File.ReadAllBytes(back)));
        await Tool.MustRunAsync("e2fsck", ["-f", "-n", back]);
    }

    [Fact]
    public async Task PatternsDiscardAndMap()
    {
        Tool.Require("qemu-io");
        await using var server = await LunKitProcess.StartAsync("memory:64M");
        string output = await Tool.MustRunAsync("qemu-io",
        [
            "-f", "raw", "-c", "write -P 0xa5 0 1M", "-c", "read -P 0xa5 0 1M", "-c", "write -P 0x5a 3M 12345k", "-c", "read -P 0x5a 3M 12345k",
            "-c", "discard 0 512k", "-c", "read -P 0 0 512k", "-c", "read -P 0xa5 512k 512k", "-c", "write -z 3M 1M", "-c", "read -P 0 3M 1M",
            "-c", "writev -P 0x11 20M 64k 64k 4k", "-c", "read -P 0x11 20M 132k", "-c", "flush", server.Url(0),
        ]);
        Assert.DoesNotContain("failed", output, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("mismatch", output, StringComparison.OrdinalIgnoreCase);
        string map = await Tool.MustRunAsync("qemu-img", ["map", "--output=json", "-f", "raw", server.Url(0)]);
        Assert.Contains("\"start\": 0, \"length\": 524288, \"depth\": 0, \"present\": true, \"zero\": true", map, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("memory:256M", false)]
    [InlineData("file:{0}/lun.img,size=256M", false)]
    [InlineData("memory:256M", true)]
    public async Task FioVerifies(string spec, bool headerDigest)
    {
        Tool.Require("fio");
        Tool.Require("qemu-nbd");
        await using var server = await LunKitProcess.StartAsync(spec.Replace("{0}", _folder, StringComparison.Ordinal));
        await FioVerifiesAsync(server, At("nbd.sock"), headerDigest);
    }

    /// <summary>fio over another initiator: verified random writes by three jobs to the first 192 MiB of LUN 0.</summary>
    internal static async Task FioVerifiesAsync(LunKitProcess server, string socket, bool headerDigest = false, int megabytes = 64)
    {
        Tool.Require("fio");
        Tool.Require("qemu-nbd");
        // Debian's fio has no iSCSI engine: qemu-nbd is the bridge, and another initiator that has to be right.
        using var bridge = System.Diagnostics.Process.Start("qemu-nbd",
            ["-k", socket, "-e", "8", "-t", "--discard=unmap", .. Image(server, headerDigest)]);
        for (int i = 0; i < 100 && !File.Exists(socket); i++) await Task.Delay(50);
        try
        {
            await Tool.MustRunAsync("fio",
            [
                "--name=v", "--ioengine=nbd", $"--uri=nbd+unix:///?socket={socket}", "--rw=randwrite", "--bsrange=4k-64k", $"--size={megabytes}M",
                "--iodepth=16", "--numjobs=3", $"--offset_increment={megabytes}M", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
                "--randrepeat=0", "--group_reporting",
            ], limitSeconds: 180);
        }
        finally
        {
            bridge.Kill();
            await bridge.WaitForExitAsync();
        }
    }

    private static string[] Image(LunKitProcess server, bool headerDigest) => headerDigest
        ? ["--image-opts", $"driver=iscsi,transport=tcp,portal=127.0.0.1:{server.Port},target={LunKitProcess.Iqn},lun=0,header-digest=crc32c"]
        : ["-f", "raw", server.Url(0)];
}
