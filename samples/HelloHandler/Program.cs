using System.Text;
using LunKit.Backstores;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;

// A block handler for the kernel's target in one file: sudo dotnet run --project samples/HelloHandler
// Then a backstore with dev_config=hello/ANYTHING is answered from here; every block says where it is.

[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

await TcmuHandler.RunAsync("hello", config => new HelloDisk(config));

internal sealed class HelloDisk(TcmuConfig config) : IBackstore
{
    private readonly Dictionary<long, byte[]> _blocks = [];

    public BackstoreGeometry Geometry { get; } = new(config.SizeBytes) { BlockSize = config.BlockSize };

    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        for (int at = 0; at < data.Length; at += 512)
            data.Slice(at, 512).CopyFrom(_blocks.GetValueOrDefault((offset + at) / 512) ?? Encoding.UTF8.GetBytes($"Hello from {config.Path}, block {(offset + at) / 512}!".PadRight(512)));
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        for (int at = 0; at < data.Length; at += 512) _blocks[(offset + at) / 512] = data.Slice(at, 512).ToArray();
        return ValueTask.CompletedTask;
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
}
