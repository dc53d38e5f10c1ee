using LunKit.Iscsi;
using LunKit.Linux;

namespace LunKit.Tests.Linux;

/// <summary>What limits and control groups leave to a process.</summary>
public sealed class ProcessRoomTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("lunkit-room-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private void Write(string path, string text)
    {
        path = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }

    private ProcessRoom Room() => new(Path.Combine(_root, "proc"), Path.Combine(_root, "cgroup"));

    [Fact]
    public void WithoutLimitsThereIsRoom()
    {
        var room = Room();
        Assert.Equal((int.MaxValue, null), (room.Descriptors, room.SpareThreads()));
        Assert.Null(new ConnectionRoom(room.Descriptors, room.SpareThreads).Shortage(1_000_000));
    }

    [Fact]
    public void DescriptorsAreTheSoftLimit()
    {
        Write("proc/limits", "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            260                  524288               files     \n");
        Assert.Equal(260, Room().Descriptors);
        Write("proc/limits", "Max open files            unlimited            unlimited            files     \n");
        Assert.Equal(int.MaxValue, Room().Descriptors);
    }

    [Theory]
    [InlineData("0::/a/b", "cgroup/a/b", "cgroup/a")]
    [InlineData("8:pids:/a/b\n4:memory:/x", "cgroup/pids/a/b", "cgroup/pids/a")]
    [InlineData("3:cpu,pids:/a/b", "cgroup/cpu,pids/a/b", "cgroup/cpu,pids")]
    public void ThreadsAreThoseOfTheTightestGroup(string groups, string own, string above)
    {
        Write("proc/cgroup", groups + "\n");
        Write($"{own}/pids.max", "100\n");
        Write($"{own}/pids.current", "40\n");
        Write($"{above}/pids.max", "max\n");
        Write($"{above}/pids.current", "70\n");
        Assert.Equal(60, Room().SpareThreads());
        Write($"{above}/pids.max", "90\n");
        var room = Room();
        Assert.Equal(20, room.SpareThreads());
        Assert.Null(new ConnectionRoom(room.Descriptors, room.SpareThreads).Shortage(5));
        Write($"{above}/pids.current", "75\n");
        Assert.Equal("the control group allows 15 more threads (pids.max)", new ConnectionRoom(room.Descriptors, room.SpareThreads).Shortage(5));
        // More than its limit: it was lowered.
        Write($"{above}/pids.current", "95\n");
        Assert.Equal(0, room.SpareThreads());
    }

    [Fact]
    public void TheLastDescriptorsAreForThoseWhoAreThere()
    {
        var room = new ConnectionRoom(260, static () => null);
        Assert.Null(room.Shortage(195));
        Assert.Equal("260 descriptors are the limit (ulimit -n), and few are left", room.Shortage(196));
    }
}
