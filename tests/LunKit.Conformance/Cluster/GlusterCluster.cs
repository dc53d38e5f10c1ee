using System.Globalization;
using Xunit;

namespace LunKit.Conformance;

/// <summary>A Gluster volume of one brick.</summary>
internal sealed class GlusterCluster : Lab
{
    private static readonly Lazy<Task<GlusterCluster>> s_shared = new(NewAsync);
    private static int s_count;

    private readonly int _port;

    private GlusterCluster(string host, int port) : base("gluster", $"LUNKIT_GLUSTER_HOST={host}", $"LUNKIT_GLUSTER_PORT={port}") => (Host, _port) = (host, port);

    public string Host { get; }

    public static string? Missing { get; } = Environment.UserName == "root" ? MissingOf("glusterd", "gluster") : "needs root, for the trusted attributes of a brick";

    /// <summary>The one that tests share that do not hurt it.</summary>
    public static Task<GlusterCluster> SharedAsync() => s_shared.Value;

    /// <summary>One for a test alone.</summary>
    public static async Task<GlusterCluster> NewAsync()
    {
        Assert.SkipWhen(Missing is not null, Missing ?? "");
        int number = Interlocked.Increment(ref s_count);
        var cluster = new GlusterCluster(string.Create(CultureInfo.InvariantCulture, $"127.{1 + Environment.ProcessId % 250}.7.{number}"), 24007);
        await cluster.StartAsync();
        return cluster;
    }

    /// <summary>Makes a file, and says how it is served.</summary>
    public async Task<string> CreateAsync(string file, int megabytes)
    {
        var options = new LunKit.Gluster.GlusterBackstoreOptions { Servers = [new(Host, _port)], Volume = "gv0", Path = file, SizeBytes = (long)megabytes << 20 };
        await LunKit.Gluster.GlusterBackstore.Open(options).DisposeAsync();
        return Spec(file);
    }

    /// <summary>How a file of the volume is served.</summary>
    public string Spec(string file) => $"gluster:{Host}:{_port}/gv0/{file}";
}
