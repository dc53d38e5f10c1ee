using System.Net;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using Xunit;

namespace LunKit.Conformance;

/// <summary>
/// An image on a file system that hangs (frozen, as by a snapshot) beside a disk that does not: only the commands to the image wait. Needs root, a
/// loop device, mkfs.ext4 and fsfreeze.
/// </summary>
public sealed class HungFileSystemTests : IAsyncDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-hung-").FullName;
    private bool _isMounted, _isFrozen;

    private string Mount => Path.Combine(_folder, "mount");

    private async Task MountAsync()
    {
        Assert.SkipUnless(Environment.UserName == "root", "needs root, for a mount");
        Assert.SkipUnless(File.Exists("/dev/loop-control"), "needs the kernel's loop devices");
        foreach (string tool in (string[])["mkfs.ext4", "mount", "fsfreeze"]) Tool.Require(tool);
        string image = Path.Combine(_folder, "fs.img");
        using (var file = File.OpenWrite(image)) file.SetLength(64 << 20);
        await Tool.MustRunAsync("mkfs.ext4", ["-q", "-F", image]);
        Directory.CreateDirectory(Mount);
        await Tool.MustRunAsync("mount", ["-o", "loop", image, Mount]);
        _isMounted = true;
    }

    private async Task FreezeAsync(bool isFrozen)
    {
        await Tool.MustRunAsync("fsfreeze", [isFrozen ? "--freeze" : "--unfreeze", Mount]);
        _isFrozen = isFrozen;
    }

    public async ValueTask DisposeAsync()
    {
        if (_isFrozen) await FreezeAsync(false);
        if (_isMounted) await Tool.RunAsync("umount", [Mount]);
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task OtherUnitsGoOn(bool forced)
    {
        await MountAsync();
        await using var server = await LunKitProcess.StartAsync($"file:{Mount}/disk.img,size=16M", "memory:16M");
        await using (var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, server.Port), TargetName = LunKitProcess.Iqn, TimeoutSeconds = 60 }))
        {
            foreach (int lun in (int[])[0, 1]) await initiator.ExecuteAsync(lun, new byte[6]);
            var data = Enumerable.Range(0, 4096).Select(i => (byte)(i * 3)).ToArray();
            byte[] write = [0x2A, (byte)(forced ? 0x08 : 0), 0, 0, 0, 64, 0, 0, 8, 0], read = [0x28, 0, 0, 0, 0, 64, 0, 0, 8, 0], sync = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            await FreezeAsync(true);
            Task<ScsiAnswer>[] hung = [initiator.ExecuteAsync(0, write, data), initiator.ExecuteAsync(0, sync)];
            try
            {
                // The same connection's other unit, its NOPs, and its questions about the image.
                for (int i = 0; i < 5; i++)
                {
                    Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(1, write, data).WaitAsync(s_limit)).Status);
                    Assert.Equal(data, (await initiator.ExecuteAsync(1, read, null, 4096).WaitAsync(s_limit)).Data);
                    Assert.Equal("ping"u8.ToArray(), await initiator.PingAsync("ping"u8.ToArray()).WaitAsync(s_limit));
                    Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, [0x4D, 0, 0x4C, 0, 0, 0, 0, 1, 0, 0], null, 256).WaitAsync(s_limit)).Status);
                }
                Assert.False(hung[0].IsCompleted);
            }
            finally
            {
                // Before anything waits for the server, which cannot even be killed until then.
                await FreezeAsync(false);
            }
            foreach (var command in hung) Assert.Equal(ScsiStatus.Good, (await command).Status);
            Assert.Equal(data, (await initiator.ExecuteAsync(0, read, null, 4096)).Data);
        }
        Assert.Equal(0, await server.StopAsync());
    }
}
