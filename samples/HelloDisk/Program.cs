// A whole disk in one file: dotnet run --project samples/HelloDisk
// Every block says where it is; what is written stays until the program ends.
using System.Text;
using LunKit.Backstores;
using LunKit.Iscsi;

[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

await IscsiServer.RunAsync(new HelloDisk(), "iqn.2026-11.local.lunkit:hello", port: args.Length > 0 ? int.Parse(args[0]) : 3260);

internal sealed class HelloDisk : IBackstore
{
    private readonly Dictionary<long, byte[]> _blocks = [];

    public BackstoreGeometry Geometry { get; } = new(64L << 20);

    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        for (int at = 0; at < data.Length; at += 512)
            data.Slice(at, 512).CopyFrom(_blocks.GetValueOrDefault((offset + at) / 512) ?? Encoding.UTF8.GetBytes($"Hello, block {(offset + at) / 512}!".PadRight(512)));
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        for (int at = 0; at < data.Length; at += 512) _blocks[(offset + at) / 512] = data.Slice(at, 512).ToArray();
        return ValueTask.CompletedTask;
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
}
