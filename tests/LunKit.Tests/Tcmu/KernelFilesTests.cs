using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Kernel;

namespace LunKit.Tests.Tcmu;

/// <summary>What sysfs and configfs say, in folders that look like them.</summary>
public sealed class KernelFilesTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("lunkit-sys-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private void Put(string path, string text)
    {
        string file = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }

    [Theory]
    [InlineData("tcm-user/0/disk0/file//srv/a b/disk.img\n", 0, "disk0", "file", "/srv/a b/disk.img")]
    [InlineData("tcm-user/12/x/rbd/pool/image;conf=/etc/ceph", 12, "x", "rbd", "pool/image;conf=/etc/ceph")]
    [InlineData("tcm-user/1/bare", 1, "bare", "", "")]
    [InlineData("tcm-user/1/bare/null", 1, "bare", "null", "")]
    public void NamesAreTakenApart(string text, int hba, string name, string subtype, string path) =>
        Assert.Equal(new TcmuDeviceName(hba, name, subtype, path), TcmuDeviceName.Parse(text));

    [Theory]
    [InlineData("uio_pci_generic")]
    [InlineData("tcm-user/x/disk/file/a")]
    [InlineData("tcm-user/1")]
    [InlineData("tcm-user/1//file/a")]
    [InlineData("")]
    public void OtherDevicesAreNotTaken(string text) => Assert.Null(TcmuDeviceName.Parse(text));

    [Fact]
    public void DevicesAreFoundInSysfs()
    {
        Put("class/uio/uio10/name", "tcm-user/0/b/file//b.img\n");
        Put("class/uio/uio10/maps/map0/size", "0x0000000040800000\n");
        Put("class/uio/uio2/name", "tcm-user/0/a/null/\n");
        Put("class/uio/uio2/maps/map0/size", "0x900000\n");
        Put("class/uio/uio3/name", "uio_pci_generic\n");
        Put("class/uio/uio4/name", "tcm-user/0/half/file/x\n"); // going away: no map any more
        Assert.Equal(
            [new UioDevice(2, new(0, "a", "null", ""), 0x900000), new UioDevice(10, new(0, "b", "file", "/b.img"), 0x40800000)],
            UioDevice.Find(_root));
        Assert.Empty(UioDevice.Find(Path.Combine(_root, "nowhere")));
    }

    [Fact]
    public void SnapshotAndActionsAreFiles()
    {
        Put("core/user_0/disk0/attrib/hw_block_size", "512\n");
        Put("core/user_0/disk0/attrib/hw_max_sectors", "128\n");
        Put("core/user_0/disk0/attrib/dev_size", "67108864\n");
        Put("core/user_0/disk0/attrib/emulate_write_cache", "1\n");
        Put("core/user_0/disk0/wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: 8a53a3d5-71b9\n");
        Put("core/user_0/disk0/action/block_dev", "");
        var folder = UserBackstore.Of(new TcmuDeviceName(0, "disk0", "file", "/x"), _root);
        Assert.Equal(new DeviceDescription(67108864, 512, 65536, "8a53a3d5-71b9", true), folder.ReadSnapshot());
        folder.Block(true);
        Assert.Equal("1", File.ReadAllText(Path.Combine(_root, "core/user_0/disk0/action/block_dev")));
        // An action that this kernel does not have is an error, not a new file.
        Assert.Throws<FileNotFoundException>(folder.ResetRing);
        Put("core/user_0/disk0/attrib/dev_size", "many\n");
        Assert.Contains("not a number", Assert.Throws<IOException>(folder.ReadSnapshot).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void PortGroupsAreReadWithTheirPorts()
    {
        const string Group = "core/user_0/disk0/alua/default_tg_pt_gp/", Other = "core/user_0/disk0/alua/new/";
        Put(Group + "tg_pt_gp_id", "16\n");
        Put(Group + "alua_access_state", "2\n");
        Put(Group + "alua_access_status", "Altered by Implicit ALUA\n");
        Put(Group + "preferred", "1\n");
        Put(Group + "alua_support_standby", "1\n");
        Put(Group + "alua_support_active_optimized", "1\n");
        Put(Group + "alua_support_offline", "0\n");
        Put(Group + "members", "iSCSI/iqn.2026-11.x:y/tpgt_1/lun_0\n\0loopback/naa.5001405000000001/tpgt_1/lun_0\n\0iSCSI/iqn.gone/tpgt_1/lun_0\n\0loopback/naa.5001405000000001/tpgt_1/lun_1\n\0");
        Put("iscsi/iqn.2026-11.x:y/tpgt_1/lun/lun_0/statistics/scsi_port/indx", "7\n");
        Put("loopback/naa.5001405000000001/tpgt_1/lun/lun_0/statistics/scsi_port/indx", "3\n");
        // As newer kernels have it: no number at all.
        Put("loopback/naa.5001405000000001/tpgt_1/lun/lun_1/statistics/scsi_port/indx", "0\n");
        Put(Other + "tg_pt_gp_id", "None\n");
        var folder = UserBackstore.Of(new TcmuDeviceName(0, "disk0", "file", "/x"), _root);
        var group = Assert.Single(folder.ReadPortGroups());
        Assert.Equal((16, AccessState.Standby, (byte)2, (byte)0x05, true), (group.Group, group.State, group.Status, group.Supported, group.IsPreferred));
        Assert.Equal([3, 7], group.Ports);
        Assert.Empty(UserBackstore.Of(new TcmuDeviceName(0, "none", "file", "/x"), _root).ReadPortGroups());
    }

    [Fact]
    public void MappingsOfOneFileAreOneMemory()
    {
        string path = Path.Combine(_root, "shared");
        File.WriteAllBytes(path, new byte[8192]);
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        using System.Buffers.MemoryManager<byte> one = new MappedRegion(file, 8192), two = new MappedRegion(file, 8192);
        one.GetSpan()[5000] = 42;
        Assert.Equal(42, two.Memory.Span[5000]);
        ((IDisposable)one).Dispose();
        Assert.Throws<ObjectDisposedException>(() => one.GetSpan()[0]);
        Assert.Throws<LinuxException>(() => new MappedRegion(new Microsoft.Win32.SafeHandles.SafeFileHandle(-1, false), 4096));
    }
}
