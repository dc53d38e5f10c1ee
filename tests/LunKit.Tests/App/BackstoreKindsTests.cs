using LunKit.App.Backstores;
using LunKit.App.Handle;
using LunKit.App.Serve;
using LunKit.LogicalUnits;

namespace LunKit.Tests.App;

/// <summary>How backstores are written on the command line and in tcmu-runner's configurations.</summary>
public class BackstoreKindsTests
{
    [Theory]
    [InlineData("rbd:rbd", "is not POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]")]
    [InlineData("rbd:a/b/c/d", "is not POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]")]
    [InlineData("rbd:a/b@", "is not POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]")]
    [InlineData("rbd:a/b,timeout=never", "timeout=never is not 1 to 3600 seconds")]
    [InlineData("rbd:a/b,preallocate", "option 'preallocate' is not known")]
    [InlineData("gluster:host/vol", "is not HOST[:PORT]/VOLUME/PATH")]
    [InlineData("gluster:host:0/vol/file", "'0' is not a port")]
    [InlineData("gluster:host/vol/file,transport=sctp", "is not tcp, unix or rdma")]
    public void WrongOnesSayWhatIsWrong(string spec, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => BackstoreSpec.Parse(spec)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("rbd:pool/image")]
    [InlineData("rbd:pool/space/image@snap,conf=/etc/ceph/x.conf,id=me,cache=on")]
    [InlineData("gluster:[fd00::1]:24008/vol/some/file,servers=b+c:24009,size=1G,sync")]
    [InlineData("block:/dev/sdb,readonly")]
    public void RightOnesAreTaken(string spec) => Assert.Equal(spec.Split(':')[0], BackstoreSpec.Parse(spec).Kind);

    [Theory]
    [InlineData("pscsi:/dev/sg1,policy=some", "policy=some is not safe or all")]
    [InlineData("pscsi:/dev/sg1,allow=3B+XYZ", "'XYZ' is no operation code")]
    [InlineData("pscsi:", "/dev/sgN is missing")]
    public void WrongDevicesSayWhatIsWrong(string spec, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => PassThroughSpec.Parse(spec)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("pool/image", "pool/image")]
    [InlineData("pool/image;osd_op_timeout=30;conf=/etc/ceph/ceph.conf;id=user", "pool/image,timeout=30,conf=/etc/ceph/ceph.conf,id=user")]
    public void TcmuRunnersRbdIsUnderstood(string config, string spec) => Assert.Equal(spec, TcmuRunnerConfig.OfRbd(config));

    [Fact]
    public void TcmuRunnersGlfsIsUnderstood()
    {
        Assert.Equal("host:24007/vol/a/b.img", TcmuRunnerConfig.OfGlfs("vol@host:24007/a/b.img"));
        foreach (string wrong in (string[])["vol", "@host/file", "vol@/file", "vol@host", "vol@host/"]) Assert.Throws<UserException>(() => TcmuRunnerConfig.OfGlfs(wrong));
        Assert.Contains("'colour' is not osd_op_timeout", Assert.Throws<UserException>(() => TcmuRunnerConfig.OfRbd("a/b;colour=red")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryKindIsListedWithAnExampleThatParses()
    {
        var output = new StringWriter();
        Assert.Equal(0, BackstoresCommand.Run(output, null));
        foreach (var kind in BackstoreKinds.All)
        {
            Assert.Contains(kind.Syntax, output.ToString(), StringComparison.Ordinal);
            foreach (var option in kind.Options) Assert.Contains(option.Syntax, output.ToString(), StringComparison.Ordinal);
            Assert.Equal(kind.Name, BackstoreSpec.Parse(kind.Example).Kind);
        }
        foreach (var unit in UnitKinds.All) Assert.Contains(unit.Example, output.ToString(), StringComparison.Ordinal);
        Assert.Contains("there is no kind 'floppy'", Assert.Throws<UserException>(() => BackstoresCommand.Run(output, "floppy")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ThePolicyKeepsDangerousCommandsOut()
    {
        foreach (byte opcode in (byte[])[0x00, 0x12, 0x28, 0x2A, 0x15, 0x1B, 0x42]) Assert.True(PassThroughPolicy.Safe.Admits(0, [opcode]), $"{opcode:X2}h");
        foreach (byte opcode in (byte[])[0x04, 0x3B, 0x48, 0x83, 0x84, 0x85, 0xA1, 0xA2, 0xB5, 0xC0, 0xFF])
            for (byte action = 0; action < 32; action++) Assert.False(PassThroughPolicy.Safe.Admits(0, [opcode, action]), $"{opcode:X2}h/{action:X2}h");
        Assert.True(PassThroughPolicy.Safe.Allow([0x3B, 0xC1]).Admits(0, [0xC1]));
        Assert.False(PassThroughPolicy.Safe.Allow([0x3B]).Admits(0, [0xC1]));
        Assert.True(PassThroughPolicy.All.Admits(0, [0xC1]));
        Assert.False(PassThroughPolicy.All.Admits(0, []));
    }
}
