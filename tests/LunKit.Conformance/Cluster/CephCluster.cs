using System.Globalization;
using Xunit;

namespace LunKit.Conformance;

/// <summary>A Ceph cluster of one monitor and one OSD.</summary>
internal sealed class CephCluster : Lab
{
    private static readonly Lazy<Task<CephCluster>> s_shared = new(NewAsync);

    private CephCluster() : base("ceph", $"LUNKIT_CEPH_HOST={Host}")
    {
    }

    /// <summary>The address that it listens at; not 127.0.0.1, which is another machine in a virtual machine.</summary>
    public static string Host => "127.0.6.1";

    public static string? Missing { get; } = MissingOf("ceph-mon", "ceph-osd", "ceph", "rbd");

    /// <summary>The one that tests share that do not hurt it.</summary>
    public static Task<CephCluster> SharedAsync() => s_shared.Value;

    /// <summary>One for a test alone.</summary>
    public static async Task<CephCluster> NewAsync()
    {
        Assert.SkipWhen(Missing is not null, Missing ?? "");
        var cluster = new CephCluster();
        await cluster.StartAsync();
        return cluster;
    }

    public string Conf => Path.Combine(Folder, "ceph.conf");

    public Task<string> RbdAsync(params string[] arguments) => Tool.MustRunAsync("rbd", ["--conf", Conf, .. arguments]);

    public Task<string> CephAsync(params string[] arguments) => Tool.MustRunAsync("ceph", ["--conf", Conf, .. arguments]);

    /// <summary>Makes an image in the pool "rbd", and says how it is served.</summary>
    public async Task<string> CreateAsync(string image, int megabytes)
    {
        await RbdAsync("create", "--size", megabytes.ToString(CultureInfo.InvariantCulture), $"rbd/{image}");
        return Spec(image);
    }

    public string Spec(string image) => $"rbd:rbd/{image},conf={Conf}";
}
