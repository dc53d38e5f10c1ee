using LunKit.Linux;
using LunKit.Tcmu.Devices;

namespace LunKit.Tests.Tcmu;

/// <summary>Generic netlink, against messages that a Linux 6.1 kernel sent and took (Netlink/: run, number, message).</summary>
public class TcmuMessagesTests
{
    private const ushort Family = 32;

    private static byte[] Captured(string name) => File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Tcmu/Netlink", name + ".bin"));

    private static NetlinkMessage Only(byte[] bytes)
    {
        var rest = new ReadOnlySpan<byte>(bytes);
        Assert.True(NetlinkMessage.TryTake(ref rest, out var message));
        Assert.True(rest.IsEmpty);
        return message;
    }

    [Fact]
    public void RequestsAreTheBytesThatTheKernelTook()
    {
        Assert.Equal(Captured("nofeatures-00-GETFAMILY"), TcmuMessages.GetFamily(1));
        Assert.Equal(Captured("reply0-02-SET_FEATURES"), TcmuMessages.SetFeatures(Family, 2, replies: true));
        var added = TcmuMessages.ParseEvent(Only(Captured("reply0-04-ADDED_DEVICE")), Family)!;
        Assert.Equal(Captured("reply0-05-ADDED_DEVICE_DONE"), TcmuMessages.Done(Family, 3, added, Errno.None));
        var reconfigured = new TcmuEvent(TcmuEventKind.Reconfigured, "", 0, 8);
        Assert.Equal(Captured("reconf-EOPNOTSUPP-08-RECONFIG_DEVICE_DONE"), TcmuMessages.Done(Family, 4, reconfigured, Errno.EOPNOTSUPP));
    }

    [Fact]
    public void AnswersAreUnderstood()
    {
        Assert.Equal(((ushort)32, 9u), TcmuMessages.ParseFamily(Only(Captured("nofeatures-01-NEWFAMILY"))));
        Assert.Equal((NetlinkMessage.TypeError, 2u, 0), (Only(Captured("reply0-03-ACK")).Type, Only(Captured("reply0-03-ACK")).Sequence, Only(Captured("reply0-03-ACK")).Error));
        Assert.Equal(-19, Only(Captured("reconf-EOPNOTSUPP-06-ERROR")).Error);
    }

    [Theory]
    [InlineData("reply0-04-ADDED_DEVICE", "Added tcm-user/0/b/foo/cfgB 0 2   ")]
    [InlineData("nofeatures-03-RECONFIG_DEVICE", "Reconfigured tcm-user/0/a/foo/cfgA 0 1  134217728 ")]
    [InlineData("nofeatures-04-RECONFIG_DEVICE", "Reconfigured tcm-user/0/a/foo/cfgA 0 1 newcfg/xyz  ")]
    [InlineData("nofeatures-05-RECONFIG_DEVICE", "Reconfigured tcm-user/0/a/newcfg/xyz 0 1   True")]
    [InlineData("nofeatures-06-REMOVED_DEVICE", "Removed tcm-user/0/a/newcfg/xyz 0 1   ")]
    public void EventsAreUnderstood(string file, string expected)
    {
        var e = TcmuMessages.ParseEvent(Only(Captured(file)), Family)!;
        Assert.Equal(expected, $"{e.Kind} {e.DeviceName} {e.Minor} {e.DeviceId} {e.Config} {e.SizeBytes} {e.WriteCache}");
        Assert.Null(TcmuMessages.ParseEvent(Only(Captured(file)), 33));
    }

    [Fact]
    public void DamagedMessagesHarmNobody()
    {
        var random = new Random(1);
        foreach (string file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Tcmu/Netlink"), "*.bin"))
        {
            var original = File.ReadAllBytes(file);
            for (int i = 0; i < 2000; i++)
            {
                var bytes = original[..random.Next(original.Length + 1)];
                for (int k = random.Next(4); k > 0 && bytes.Length > 0; k--) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                ReadOnlySpan<byte> rest = bytes;
                while (NetlinkMessage.TryTake(ref rest, out var message))
                {
                    _ = message.Error;
                    TcmuMessages.ParseEvent(message, Family);
                    TcmuMessages.ParseFamily(message);
                }
            }
        }
    }

    /// <summary>The socket against the kernel of this machine, which need not have TCMU to say so.</summary>
    [Fact]
    public void KernelAnswersOverTheSocket()
    {
        using var socket = new NetlinkSocket();
        using var wake = new EventFd();
        socket.Send(TcmuMessages.GetFamily(7));
        Assert.True(socket.Wait(wake, 5000));
        var buffer = new byte[8192];
        int length = socket.Receive(buffer, out bool lost);
        Assert.False(lost);
        ReadOnlySpan<byte> rest = buffer.AsSpan(0, length);
        Assert.True(NetlinkMessage.TryTake(ref rest, out var answer));
        Assert.Equal(7u, answer.Sequence);
        // ENOENT where the module is not loaded, the family's ids where it is.
        if (answer.Type == NetlinkMessage.TypeError) Assert.Equal(-2, answer.Error);
        else Assert.NotNull(TcmuMessages.ParseFamily(answer));
    }
}
