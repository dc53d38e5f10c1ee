using System.Net;
using System.Net.Sockets;
using LunKit.App.Serve;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.App;

/// <summary>A target that cannot start leaves nothing behind: no image, no state file, no longer image than before.</summary>
public sealed class FailedStartTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-start-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private ServeOptions Options(IPEndPoint portal, params string[] backstores) => new()
    {
        Backstores = backstores, Portals = [new(portal)], Iqn = "iqn.2026-11.local.lunkit:start", StatePath = Path.Combine(_folder, "states"),
    };

    private string[] Left() => [.. Directory.GetFileSystemEntries(_folder).Select(e => Path.GetFileName(e)!).Order(StringComparer.Ordinal)];

    private static IPEndPoint AnyPort => new(IPAddress.Loopback, 0);

    [Fact]
    public async Task OnATakenPort()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var error = await Assert.ThrowsAsync<UserException>(() => Server.StartAsync(Options((IPEndPoint)taken.LocalEndpoint, $"{_folder}/a.img,size=1M").ToConfig(), NullLogger.Instance));
        Assert.Contains("the port is taken", error.Message, StringComparison.Ordinal);
        Assert.Empty(Left());
    }

    [Fact]
    public async Task WhenAnotherUnitCannotBeOpened()
    {
        await Assert.ThrowsAsync<UserException>(() => Server.StartAsync(Options(AnyPort, $"{_folder}/a.img,size=1M", $"{_folder}/missing.img").ToConfig(), NullLogger.Instance));
        Assert.Empty(Left());
    }

    [Theory]
    [InlineData("size=10", "less than one block")]
    [InlineData("size=1000", "no multiple of its blocks of 512")]
    [InlineData("size=8000P", "")]
    [InlineData("size=10P,preallocate", "")]
    public async Task OnASizeThatCannotBe(string size, string message)
    {
        var error = await Assert.ThrowsAsync<UserException>(() => Server.StartAsync(Options(AnyPort, $"{_folder}/a.img,{size}").ToConfig(), NullLogger.Instance));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("Parameter", error.Message, StringComparison.Ordinal);
        Assert.Empty(Left());
    }

    [Fact]
    public async Task AnImageThatWasThereStaysAsItWas()
    {
        string image = $"{_folder}/a.img";
        await File.WriteAllBytesAsync(image, new byte[1 << 20]);
        await Assert.ThrowsAsync<UserException>(() => Server.StartAsync(Options(AnyPort, $"{image},size=4P,preallocate").ToConfig(), NullLogger.Instance));
        await Assert.ThrowsAsync<UserException>(() => Server.StartAsync(Options(AnyPort, image, $"{_folder}/missing.img").ToConfig(), NullLogger.Instance));
        Assert.Equal(1 << 20, new FileInfo(image).Length);
    }

    [Fact]
    public async Task WhatIsCreatedStaysWhenTheTargetStarts()
    {
        await using (var server = await Server.StartAsync(Options(AnyPort, $"{_folder}/a.img,size=1M").ToConfig(), NullLogger.Instance)) Assert.NotEqual(0, server.Portals[0].EndPoint.Port);
        Assert.Equal(["a.img", "a.img.lunkit-state"], Left());
    }

    /// <summary>An image is created where a link leads, and deleted there; the link is the operator's.</summary>
    [Fact]
    public async Task ThroughALink()
    {
        File.CreateSymbolicLink($"{_folder}/link.img", $"{_folder}/real.img");
        await Assert.ThrowsAsync<UserException>(() => Server.StartAsync(Options(AnyPort, $"{_folder}/link.img,size=1M", $"{_folder}/missing.img").ToConfig(), NullLogger.Instance));
        Assert.Equal(["link.img"], Left());
        await using (await Server.StartAsync(Options(AnyPort, $"{_folder}/link.img,size=1M").ToConfig(), NullLogger.Instance)) { }
        Assert.Equal(["link.img", "real.img", "real.img.lunkit-state"], Left());
    }

    [Theory]
    [InlineData("/dev/null", "not an image file")]
    [InlineData("/dev/zero,size=1M", "not an image file")]
    public async Task DevicesAreNoImages(string spec, string message)
    {
        var error = await Assert.ThrowsAsync<UserException>(() => Server.StartAsync(Options(AnyPort, spec).ToConfig(), NullLogger.Instance));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }
}
