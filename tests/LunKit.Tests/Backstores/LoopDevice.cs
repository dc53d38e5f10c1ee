using System.Diagnostics;
using Xunit;

namespace LunKit.Tests.Backstores;

/// <summary>A loop device over a file, for the time of a test. A test that cannot have one says so and is skipped.</summary>
internal sealed class LoopDevice : IAsyncDisposable
{
    private readonly string _file = System.IO.Path.GetTempFileName();

    public string Path { get; private set; } = "";

    public static async Task<LoopDevice> CreateAsync(long bytes, int sectorSize = 512)
    {
        Assert.SkipUnless(Environment.UserName == "root", "needs root, for a loop device");
        Assert.SkipUnless(File.Exists("/dev/loop-control"), "needs the kernel's loop devices");
        Assert.SkipUnless(Folders.Split(':').Any(f => File.Exists($"{f}/losetup")), "needs the program losetup");
        var loop = new LoopDevice();
        using (var file = File.OpenWrite(loop._file)) file.SetLength(bytes);
        loop.Path = (await RunAsync("losetup", "--find", "--show", "--sector-size", $"{sectorSize}", loop._file)).Trim();
        return loop;
    }

    private static string Folders => $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin";

    public async Task GrowAsync(long bytes)
    {
        using (var file = File.OpenWrite(_file)) file.SetLength(bytes);
        await RunAsync("losetup", "--set-capacity", Path);
    }

    /// <summary>Bytes that the file behind it takes on its own file system.</summary>
    public async Task<long> AllocatedAsync() => 512 * long.Parse(await RunAsync("stat", "-c", "%b", _file));

    public async ValueTask DisposeAsync()
    {
        if (Path.Length > 0) await RunAsync("losetup", "--detach", Path);
        File.Delete(_file);
    }

    private static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true };
        start.Environment["PATH"] = Folders;
        using var process = Process.Start(start)!;
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}");
        return output;
    }
}
