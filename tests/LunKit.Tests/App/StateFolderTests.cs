using LunKit.App.Serve;
using LunKit.LogicalUnits;
using Microsoft.Extensions.Logging;

namespace LunKit.Tests.App;

/// <summary>Where the state of devices and of images in clusters is kept.</summary>
public sealed class StateFolderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-states-").FullName;
    private readonly Lines _log = new();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private sealed class Lines : ILogger
    {
        public List<(LogLevel Level, string Text)> All { get; } = [];
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;
        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            All.Add((logLevel, formatter(state, exception)));
    }

    private static readonly Guid s_id = UnitIdentity.IdOf("unit");

    /// <summary>Over a link an image is the same disk: the same names, the same reservations.</summary>
    [Fact]
    public async Task AnImageBehindALinkHasItsOwnState()
    {
        string image = Path.Combine(_folder, "real/disk.img"), link = Path.Combine(_folder, "link.img");
        Directory.CreateDirectory(Path.GetDirectoryName(image)!);
        async Task<Guid> IdAsync(string path)
        {
            var unit = BackstoreSpec.Parse($"file:{path},size=1M").Open(readOnly: false, writeCache: true, "lun", _log);
            var id = unit.Identity.Id;
            await unit.DisposeAsync();
            return id;
        }
        var own = await IdAsync(image);
        File.CreateSymbolicLink(link, image);
        Assert.Equal(own, await IdAsync(link));
        Assert.False(File.Exists(link + FileUnitState.Suffix));
        // What lies beside the link from before is used on.
        File.Copy(image + FileUnitState.Suffix, link + FileUnitState.Suffix);
        File.Delete(image + FileUnitState.Suffix);
        Assert.Equal(own, await IdAsync(link));
    }

    [Fact]
    public void TheSameDeviceFindsItsStateAgain()
    {
        string path = Path.Combine(_folder, "a/b");
        var states = new StateFolder(path, _log);
        var state = states.Open("lun 0", "block:naa.5000", s_id, mayShare: false);
        Assert.True(state.IsDurable);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(path));
        var unit = state.Load();
        Assert.Equal(s_id, unit.Id);
        unit.Reservations = new ReservationState();
        state.Save(unit);
        ((IDisposable)state).Dispose();
        Assert.NotNull(states.Open("lun 7", "block:naa.5000", UnitIdentity.IdOf("other"), mayShare: false).Load().Reservations);
        Assert.Null(states.Open("lun 1", "block:naa.5001", s_id, mayShare: false).Load().Reservations);
        Assert.Contains(_log.All, l => l.Level == LogLevel.Information && l.Text.Contains($"{path}/{StateFolder.NameOf("block:naa.5000")}", StringComparison.Ordinal));
    }

    [Fact]
    public void WithoutAFolderAWarningSaysSo()
    {
        File.WriteAllText(Path.Combine(_folder, "file"), "");
        var state = new StateFolder(Path.Combine(_folder, "file/units"), _log).Open("rbd:a/b", "rbd:a/b", s_id, mayShare: false);
        Assert.False(state.IsDurable);
        Assert.Equal(s_id, state.Load().Id);
        var (level, text) = Assert.Single(_log.All);
        Assert.Equal(LogLevel.Warning, level);
        Assert.Contains("APTPL", text, StringComparison.Ordinal);
    }

    [Fact]
    public void ADeviceThatIsServedTwiceIsRefusedUnlessItIsOnlyRead()
    {
        var states = new StateFolder(_folder, _log);
        using var first = (FileUnitState)states.Open("a", "rbd:a/b", s_id, mayShare: false);
        first.Save(first.Load());
        Assert.Throws<LunKit.Backstores.BackstoreException>(() => states.Open("b", "rbd:a/b", s_id, mayShare: false));
        var second = states.Open("b", "rbd:a/b", UnitIdentity.IdOf("other"), mayShare: true);
        Assert.Equal((false, s_id), (second.IsDurable, second.Load().Id));
    }

    [Theory]
    [InlineData("rbd:pool/space/image", "rbd-pool-space-image-")]
    [InlineData("block:../../etc/passwd", "block-..-..-etc-passwd-")]
    public void NamesAreReadableAndStayInTheFolder(string device, string start)
    {
        string name = StateFolder.NameOf(device);
        Assert.StartsWith(start, name, StringComparison.Ordinal);
        Assert.DoesNotContain('/', name);
        Assert.NotEqual(name, StateFolder.NameOf(device.Replace('/', '-')));
        Assert.InRange(StateFolder.NameOf(device + new string('x', 1000)).Length, 1, 120);
    }

    /// <summary>A disk is named by what it is, not by the node that it has today.</summary>
    [Fact]
    public void ADiskIsNamedByItself()
    {
        string disk = Path.Combine(_folder, "devices/sdq"), partition = Path.Combine(disk, "sdq2");
        Directory.CreateDirectory(Path.Combine(disk, "device"));
        Directory.CreateDirectory(partition);
        File.WriteAllText(Path.Combine(disk, "device/wwid"), "naa.5000c500\n");
        File.WriteAllText(Path.Combine(partition, "partition"), "2\n");
        string block = Path.Combine(_folder, "class/block");
        Directory.CreateDirectory(block);
        File.CreateSymbolicLink(Path.Combine(block, "sdq"), disk);
        File.CreateSymbolicLink(Path.Combine(block, "sdq2"), partition);
        string byId = Path.Combine(_folder, "by-id"), node = Path.Combine(_folder, "sdq");
        File.WriteAllText(node, "");
        File.CreateSymbolicLink(byId, node);
        Assert.Equal("naa.5000c500", DeviceName.Of("/dev/sdq", _folder));
        Assert.Equal("naa.5000c500", DeviceName.Of(byId, _folder));
        Assert.Equal("naa.5000c500 part 2", DeviceName.Of("/dev/sdq2", _folder));
        Assert.Equal("/dev/sdz", DeviceName.Of("/dev/../dev/sdz", _folder));
    }
}
