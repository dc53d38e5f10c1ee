using LunKit.App.Doctor;

namespace LunKit.Tests.App;

/// <summary>What the doctor says of a machine, in folders that look like <c>/proc</c>, <c>/sys</c> and <c>/dev</c>.</summary>
public sealed class DoctorTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("lunkit-doctor-").FullName;
    private readonly Machine _machine;

    public DoctorTests()
    {
        _machine = new Machine { Proc = Path.Combine(_root, "proc"), Sys = Path.Combine(_root, "sys"), Dev = Path.Combine(_root, "dev"), Patience = TimeSpan.FromMilliseconds(1) };
        Directory.CreateDirectory(_machine.Proc);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private void Put(string path, string text)
    {
        string file = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }

    private void PutProcess(int id, string command, char state = 'S', string arguments = "", string? open = null)
    {
        Put($"proc/{id}/comm", command + "\n");
        Put($"proc/{id}/stat", $"{id} ({command}) {state} 1 1 1");
        Put($"proc/{id}/cmdline", arguments.Replace(' ', '\0'));
        if (open is null) return;
        Directory.CreateDirectory(Path.Combine(_root, $"proc/{id}/fd"));
        File.CreateSymbolicLink(Path.Combine(_root, $"proc/{id}/fd/7"), Path.Combine(_machine.Dev, open));
    }

    private void PutWaiting(int id, string function, char state = 'D')
    {
        PutProcess(id, "bash", state);
        Put($"proc/{id}/task/{id}/stat", $"{id} (a) b) {state} 1");
        Put($"proc/{id}/task/{id}/wchan", function);
    }

    private const string Folder = "sys/kernel/config/target/core/user_3/disk";

    private void PutDevice(string config = "memory/x", bool isExported = true)
    {
        Put($"{Folder}/attrib/dev_config", config + "\n");
        Put($"{Folder}/attrib/cmd_time_out", "30\n");
        Put($"{Folder}/attrib/nl_reply_supported", "1\n");
        Put($"{Folder}/action/block_dev", "unblocked\n");
        Put($"{Folder}/enable", "1\n");
        Put("sys/class/uio/uio4/name", $"tcm-user/3/disk/{config}\n");
        Put("sys/class/uio/uio4/maps/map0/size", "0x900000\n");
        Put("dev/uio4", "");
        if (!isExported) return;
        string lun = Path.Combine(_root, "sys/kernel/config/target/loopback/naa.5001405000000001/tpgt_1/lun/lun_0");
        Directory.CreateDirectory(lun);
        File.CreateSymbolicLink(Path.Combine(lun, "port"), Path.Combine(_root, Folder));
    }

    private Finding Device() => DeviceChecks.Run(_machine).First();

    private static void AssertSays(Finding finding, Verdict verdict, string text, string? advice = null)
    {
        Assert.Equal(verdict, finding.Verdict);
        Assert.Contains(text, finding.Text, StringComparison.Ordinal);
        if (advice is not null) Assert.Contains(advice, finding.Advice, StringComparison.Ordinal);
    }

    [Fact]
    public void NoDevicesAreWell() => AssertSays(Device(), Verdict.Good, "no user backstores");

    [Fact]
    public void AHandledDeviceIsWell()
    {
        PutDevice();
        PutProcess(12, "lunkit", open: "uio4");
        AssertSays(Device(), Verdict.Good, "user_3/disk (memory/x) is handled by lunkit, process 12, exported by loopback naa.5001405000000001 LUN 0");
    }

    [Fact]
    public void AStoppedHandlerGoesOn()
    {
        PutDevice();
        PutProcess(12, "lunkit", 'T', open: "uio4");
        AssertSays(Device(), Verdict.Bad, "lunkit, process 12, which is stopped", "kill -CONT 12");
    }

    [Fact]
    public void ABlockedDeviceIsUnblocked()
    {
        PutDevice();
        PutProcess(12, "lunkit", open: "uio4");
        Put($"{Folder}/action/block_dev", "blocked\n");
        AssertSays(Device(), Verdict.Bad, "is blocked", $"echo 0 > {Path.Combine(_root, Folder)}/action/block_dev");
    }

    [Theory]
    [InlineData(0, false, true)]
    [InlineData(0, true, false)]
    [InlineData(1 << 20, false, false)]
    public void AFullFileSystemIsBadForAThinImage(long free, bool isAllocated, bool isBad)
    {
        string image = Path.Combine(_root, "image");
        using (var file = File.OpenHandle(image, FileMode.CreateNew, FileAccess.Write))
        {
            if (isAllocated) RandomAccess.Write(file, new byte[1 << 16], 0);
            else RandomAccess.SetLength(file, 1 << 16);
        }
        // As its handler has it.
        using var inUse = File.OpenHandle(image, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        Assert.NotNull(_machine.FreeBytes(image));
        PutDevice($"file/{image}");
        PutProcess(12, "lunkit", open: "uio4");
        var finding = DeviceChecks.Run(_machine with { FreeBytes = _ => free }).First();
        if (isBad) AssertSays(finding, Verdict.Bad, $"the file system of {image} is full", "make room");
        else AssertSays(finding, Verdict.Good, "is handled");
    }

    [Theory]
    [InlineData("0", true)]
    [InlineData("-1", false)]
    [InlineData("1", false)]
    public void RepliesThatAreOffAreNoted(string replies, bool areOff)
    {
        PutDevice();
        PutProcess(12, "lunkit", open: "uio4");
        Put($"{Folder}/attrib/nl_reply_supported", replies + "\n");
        if (areOff) AssertSays(Device(), Verdict.Note, "netlink replies are off", "without --no-replies");
        else AssertSays(Device(), Verdict.Good, "is handled");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ADeviceWithoutAHandlerGetsOne(bool isExported)
    {
        PutDevice(isExported: isExported);
        PutProcess(12, "bash", arguments: "bash lunkit.sh handle");
        AssertSays(Device(), isExported ? Verdict.Bad : Verdict.Note, "has no handler", "start the handler of 'memory' (lunkit handle); commands fail after 30 s");
    }

    [Fact]
    public void AnAttachmentWithoutItsProcessIsDetached()
    {
        PutDevice("attach.disk/77");
        PutProcess(12, "lunkit", arguments: "/usr/bin/lunkit handle");
        AssertSays(Device(), Verdict.Bad, "has no handler", "lunkit detach disk");
    }

    [Fact]
    public void AnImageThatIsMissingIsNamed()
    {
        PutDevice($"file/{_root}/gone.img");
        PutProcess(12, "lunkit", arguments: "/usr/bin/lunkit handle");
        AssertSays(Device(), Verdict.Bad, $"its image {_root}/gone.img is missing", "move the image back");
    }

    /// <summary>Deleted in use; or for a moment, when the handler looks whether the image is back.</summary>
    [Fact]
    public void AnImageThatIsMissingIsNamedThoughItsDeviceIsOpen()
    {
        PutDevice($"file/{_root}/gone.img");
        PutProcess(12, "lunkit", arguments: "/usr/bin/lunkit handle", open: "uio4");
        AssertSays(Device(), Verdict.Bad, $"its image {_root}/gone.img is missing, though lunkit, process 12 has the device", "/proc/12/fd");
    }

    [Theory]
    [InlineData('S', "though lunkit, process 12 runs", "log of `lunkit handle` says why")]
    [InlineData('T', "lunkit, process 12 is stopped", "kill -CONT 12")]
    public void AHandlerThatDoesNotServeADeviceSaysWhy(char state, string text, string advice)
    {
        PutDevice();
        PutProcess(12, "lunkit", state, "dotnet /opt/LunKit.App.dll handle");
        AssertSays(Device(), Verdict.Bad, text, advice);
    }

    [Fact]
    public void ADeviceThatIsNotReadyIsNoted()
    {
        PutDevice();
        Put($"{Folder}/enable", "0\n");
        AssertSays(Device(), Verdict.Note, "is not enabled", $"echo 1 > {Path.Combine(_root, Folder)}/enable");
        Put($"{Folder}/enable", "1\n");
        File.Delete(Path.Combine(_machine.Dev, "uio4"));
        AssertSays(Device(), Verdict.Bad, "uio4 is missing", "udev");
        Directory.Delete(Path.Combine(_root, "sys/class/uio/uio4"), recursive: true);
        AssertSays(Device(), Verdict.Bad, "has no UIO device");
    }

    [Theory]
    [InlineData(null, "start `lunkit handle`")]
    [InlineData('S', "the log of lunkit, process 12 says")]
    [InlineData('T', "kill -CONT 12")]
    public void WhoWaitsForAReplyIsTold(char? handler, string advice)
    {
        PutWaiting(50, "tcmu_netlink_event_send");
        if (handler is { } state) PutProcess(12, "lunkit", state, "/usr/bin/lunkit handle");
        AssertSays(DeviceChecks.Run(_machine).Last(), Verdict.Bad, "process 50 (bash) waits in the kernel (tcmu_netlink_event_send) for a handler's reply by netlink", advice);
    }

    [Fact]
    public void WhoWaitsForACommandIsTold()
    {
        PutWaiting(50, "transport_clear_lun_ref");
        PutWaiting(51, "target_submission_work", 'S');
        PutWaiting(52, "do_wait");
        AssertSays(DeviceChecks.Run(_machine).Skip(1).Single(), Verdict.Bad, "process 50 (bash) waits in the kernel (transport_clear_lun_ref) for a command's answer", "start its handler");
    }

    [Fact]
    public void HandlersAndTheirNeighboursAreListed()
    {
        PutProcess(9, "tcmu-runner");
        PutProcess(12, "lunkit", 'T', "/usr/bin/lunkit handle");
        PutProcess(13, "lunkit", 'S', "/usr/bin/lunkit handle --no-replies");
        PutProcess(14, "lunkit", 'S', "/usr/bin/lunkit handle --target /run/lunkit.sock");
        var findings = MachineChecks.Handlers(_machine).ToList();
        Assert.Equal(3, findings.Count);
        AssertSays(findings[0], Verdict.Bad, "process 12, is stopped", "kill -CONT 12");
        AssertSays(findings[1], Verdict.Good, "process 13");
        AssertSays(findings[2], Verdict.Note, "tcmu-runner, process 9", "nl_reply_supported=-1");
    }

    [Theory]
    [InlineData("blocked", true)]
    [InlineData("unblocked", false)]
    public void NewsThatIsHeldBackIsFound(string state, bool isBad)
    {
        Put("sys/module/target_core_user/parameters/block_netlink", state + "\n");
        var findings = MachineChecks.Replies(_machine).ToList();
        Assert.Equal(isBad, findings.Count == 1);
        if (isBad) AssertSays(findings[0], Verdict.Bad, "block_netlink", $"echo 0 > {_machine.Sys}/module/target_core_user/parameters/block_netlink");
    }
}
