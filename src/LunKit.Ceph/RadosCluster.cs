using LunKit.Backstores;
using LunKit.Ceph.Native;
using LunKit.Linux;

namespace LunKit.Ceph;

/// <summary>How a cluster is reached: images that agree on it share one connection.</summary>
internal sealed record RadosConfiguration(string? File, string? Id, string? Keyring, TimeSpan Timeout, bool Cache);

/// <summary>
/// A connection to a cluster, shared by all images with the same configuration; closed with the last of them. Thread safe.
/// </summary>
internal sealed class RadosCluster : IDisposable
{
    // Longer than a monitor takes to answer, shorter than an operator's patience.
    private static readonly TimeSpan s_connectLimit = TimeSpan.FromSeconds(15);
    private static readonly SharedConnections<RadosConfiguration> s_connections = new(Rados.rados_shutdown);

    private readonly SharedConnection _connection;

    private RadosCluster(SharedConnection connection) => _connection = connection;

    /// <summary>Connections of this process.</summary>
    internal static int Count => s_connections.Count;

    /// <summary>A connected cluster; the caller disposes it once. Waits up to some seconds. Throws <see cref="BackstoreException"/>.</summary>
    public static RadosCluster Rent(RadosConfiguration configuration) => new(s_connections.Rent(configuration, () => Connect(configuration)));

    /// <summary>The cluster has shut this connection out: who comes next gets another.</summary>
    public void Abandon() => _connection.Abandon();

    /// <summary>The address of this client in the cluster; null when it cannot be told.</summary>
    public string? Address => Rados.AddressOf(_connection.Handle);

    /// <summary>An I/O context for a pool and a namespace.</summary>
    public nint OpenPool(string pool, string name)
    {
        var error = Errno.Of(Rados.rados_ioctx_create(_connection.Handle, pool, out nint context));
        if (error != Errno.None) throw CephErrors.OfOpening(error, $"pool '{pool}'", error == Errno.ENOENT ? "; ceph osd pool ls shows the pools that there are" : "");
        if (name.Length > 0) Rados.rados_ioctx_set_namespace(context, name);
        return context;
    }

    private static nint Connect(RadosConfiguration configuration)
    {
        nint cluster = 0;
        try
        {
            Check(Rados.rados_create(out cluster, configuration.Id), "librados");
            var error = Errno.Of(Rados.rados_conf_read_file(cluster, configuration.File));
            // Without any file the environment and defaults may do.
            if (error != Errno.None && (configuration.File is not null || error != Errno.ENOENT))
                throw CephErrors.OfOpening(error, $"Ceph configuration {configuration.File ?? "(default)"}", "; name it with conf=PATH or CEPH_CONF");
            foreach (var (option, value) in Settings(configuration)) Check(Rados.rados_conf_set(cluster, option, value), $"Ceph option {option}");
            // How often a client that has no OSD for its operations asks whether there is one now; Ceph's own 5 s are a pause that initiators notice. A
            // release without it serves all the same.
            _ = Rados.rados_conf_set(cluster, "objecter_tick_interval", "1");
            error = Errno.Of(Rados.rados_connect(cluster));
            if (error != Errno.None)
                throw CephErrors.OfOpening(error, $"Ceph cluster as client.{configuration.Id ?? "admin"} ({configuration.File ?? Environment.GetEnvironmentVariable("CEPH_CONF") ?? "/etc/ceph/ceph.conf"})",
                    error is Errno.ENOENT or Errno.EACCES ? "; is there a keyring for this user? Name it with keyring=PATH, the user with id=NAME" : "");
            return cluster;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            throw new BackstoreException(BackstoreError.Internal, "librados and librbd are missing or too old: install librbd1 (Debian, Ubuntu) or librbd (others)", null, e);
        }
        catch when (cluster != 0)
        {
            Rados.rados_shutdown(cluster);
            throw;
        }
    }

    private static IEnumerable<(string Option, string Value)> Settings(RadosConfiguration configuration)
    {
        string seconds = ((int)Math.Ceiling(configuration.Timeout.TotalSeconds)).ToString(System.Globalization.CultureInfo.InvariantCulture);
        yield return ("client_mount_timeout", ((int)Math.Min(s_connectLimit.TotalSeconds, Math.Max(3, configuration.Timeout.TotalSeconds))).ToString(System.Globalization.CultureInfo.InvariantCulture));
        // Without these an operation waits for ever when the cluster is gone.
        yield return ("rados_osd_op_timeout", seconds);
        yield return ("rados_mon_op_timeout", seconds);
        yield return ("rbd_cache", configuration.Cache ? "true" : "false");
        if (configuration.Keyring is { } keyring) yield return ("keyring", keyring);
    }

    private static void Check(int result, string what)
    {
        if (result < 0) throw CephErrors.OfOpening(Errno.Of(result), what, "");
    }

    /// <summary>One user less.</summary>
    public void Dispose() => _connection.Dispose();
}
