using System.Net;
using System.Net.Sockets;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using Xunit;

namespace LunKit.Conformance;

/// <summary>A server whose descriptors or threads have run out: whoever comes is sent away; those who are there notice nothing.</summary>
public sealed class ScarcityTests
{
    private const int Strangers = 400;

    private static readonly string[] s_program = ["dotnet", Path.Combine(Repository.Root, "artifacts/bin/LunKit.App/release/LunKit.App.dll")];

    [Fact]
    public async Task SessionsOutliveTheEndOfTheDescriptors()
    {
        Tool.Require("prlimit");
        // Native libraries of other tests leave descriptors to every process that is started beside them: here each one counts.
        const string Alone = """for f in /proc/$$/fd/*; do n=${f##*/}; (( n > 2 )) && eval "exec $n>&-"; done; exec prlimit --nofile=260:260 "$@" """;
        await RunAsync(["bash", "-c", Alone, "bash", .. s_program], "descriptors are the limit (ulimit -n)");
    }

    /// <summary>As in a container with a limit (<c>docker run --pids-limit</c>).</summary>
    [Fact]
    public async Task SessionsOutliveTheEndOfTheThreads()
    {
        string? root = new[] { "/sys/fs/cgroup/pids", "/sys/fs/cgroup" }.FirstOrDefault(g => File.Exists($"{g}/cgroup.procs"));
        string group = $"{root}/lunkit-test-{Environment.ProcessId}";
        try
        {
            if (root is not null) Directory.CreateDirectory(group);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
        Assert.SkipUnless(File.Exists($"{group}/pids.max"), "needs a control group with the pids controller, and the right to make one");
        try
        {
            await File.WriteAllTextAsync($"{group}/pids.max", "60", TestContext.Current.CancellationToken);
            await RunAsync(["sh", "-c", $"echo $$ > {group}/cgroup.procs; exec \"$@\"", "sh", .. s_program], "more threads (pids.max)");
        }
        finally
        {
            // It is empty when the processes are gone.
            for (int i = 0; i < 100 && (await File.ReadAllTextAsync($"{group}/cgroup.procs")).Length > 0; i++) await Task.Delay(50);
            Directory.Delete(group);
        }
    }

    private static async Task RunAsync(string[] program, string reason)
    {
        string folder = Directory.CreateTempSubdirectory("lunkit-scarce-").FullName;
        try
        {
            await using var server = await LunKitProcess.StartProgramAsync(program, "memory:16M", $"file:{folder}/disk.img,size=16M");
            await using var first = await ConnectAsync(server, "iqn.2026-11.test:first");
            var strangers = new List<TcpClient>();
            try
            {
                for (int i = 0; i < Strangers && await VisitAsync(server) is { } stranger; i++) strangers.Add(stranger);
                // The system accepts them at once, the server when it gets to it.
                await server.UntilAsync(reason);
                await WriteAndReadAsync(first);
            }
            finally
            {
                strangers.ForEach(s => s.Dispose());
            }
            // There is room again for others, and the one that was there still is.
            await using var second = await ConnectAsync(server, "iqn.2026-11.test:second");
            await WriteAndReadAsync(second);
            await WriteAndReadAsync(first);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>A connection that says nothing; null when the system does not accept any more on the server's behalf.</summary>
    private static async Task<TcpClient?> VisitAsync(LunKitProcess server)
    {
        var stranger = new TcpClient();
        try
        {
            await stranger.ConnectAsync(IPAddress.Loopback, server.Port).WaitAsync(TimeSpan.FromMilliseconds(500));
            return stranger;
        }
        catch (Exception e) when (e is TimeoutException or SocketException)
        {
            stranger.Dispose();
            return null;
        }
    }

    private static async Task<IscsiInitiator> ConnectAsync(LunKitProcess server, string name)
    {
        for (int i = 0; ; i++)
        {
            try
            {
                var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions
                {
                    Portal = new IPEndPoint(IPAddress.Loopback, server.Port), TargetName = LunKitProcess.Iqn, InitiatorName = name, TimeoutSeconds = 30,
                });
                foreach (int lun in (int[])[0, 1]) await initiator.ExecuteAsync(lun, new byte[6]);
                return initiator;
            }
            catch (Exception e) when (e is IOException or SocketException)
            {
                Assert.True(i < 20, $"{name} is sent away: {e.Message}\n{server.Output}");
                await Task.Delay(500);
            }
        }
    }

    private static async Task WriteAndReadAsync(IscsiInitiator initiator)
    {
        var data = new byte[4096];
        Random.Shared.NextBytes(data);
        foreach (int lun in (int[])[0, 1])
        {
            Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(lun, [0x2A, 0x08, 0, 0, 0, 64, 0, 0, 8, 0], data)).Status);
            Assert.Equal(data, (await initiator.ExecuteAsync(lun, [0x28, 0, 0, 0, 0, 64, 0, 0, 8, 0], null, 4096)).Data);
        }
    }
}
