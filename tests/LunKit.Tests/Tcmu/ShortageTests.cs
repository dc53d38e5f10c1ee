using LunKit.Linux;

namespace LunKit.Tests.Tcmu;

/// <summary>An error for want of a descriptor says nothing of what was to be opened.</summary>
public sealed class ShortageTests
{
    [Theory]
    [InlineData(Errno.EBUSY, true)]
    [InlineData(Errno.None, false)]
    [InlineData(Errno.ENOENT, false)]
    [InlineData(Errno.ENODEV, false)]
    [InlineData(Errno.EMFILE, null)]
    [InlineData(Errno.ENFILE, null)]
    [InlineData(Errno.ENOMEM, null)]
    [InlineData(Errno.EACCES, null)]
    public void WhetherADeviceIsHandledMayBeUnknown(Errno opened, bool? isHandled) => Assert.Equal(isHandled, DeviceNode.IsHandled(opened));

    [Fact]
    public void AShortageIsToldFromOtherErrors()
    {
        Assert.True(LinuxException.IsShortage(new LinuxException("open", Errno.EMFILE)));
        Assert.True(LinuxException.IsShortage(new IOException("Too many open files in system", (int)Errno.ENFILE)));
        Assert.False(LinuxException.IsShortage(new LinuxException("open", Errno.EBUSY)));
        Assert.False(LinuxException.IsShortage(new FileNotFoundException()));
    }
}
