using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Ceph;
using LunKit.Gluster;

namespace LunKit.App.Backstores;

/// <summary>All kinds of backstores: what the command line takes, and what <c>lunkit backstores</c> shows.</summary>
internal static class BackstoreKinds
{
    private static readonly BackstoreOption s_timeout = new("timeout", "SECONDS", "how long an operation may wait for the storage before it fails as one that may be tried again (25)");
    private static readonly BackstoreOption s_knownSize = new("size", "SIZE", "the size that it has: with it LunKit starts also while the storage cannot be reached");

    /// <summary>Options of every kind, which are the unit's.</summary>
    public static IReadOnlyList<BackstoreOption> Common { get; } =
    [
        new("block", "512|4096", "logical block size (512; block: the device's own)"),
        new("physical", "SIZE", "physical block size that initiators are told of (4K)"),
        new("readonly", "", "refuse writes"),
        new("removable", "", "the medium can be taken out (LOEJ)"),
        new("writecache", "on|off", "state of the write cache at the start (on)"),
        new("serial", "TEXT", "where the identity of the unit comes from"),
        new("state", "FILE", "keeps identity and reservations (file: beside the image; memory, null: nowhere; else a file in --state-dir)"),
        new("longcdbs", "on|off", "32-byte CDBs (on)"),
        new("eraserate", "SIZE", "bytes per second that FORMAT UNIT and SANITIZE may take (no limit)"),
        new("filter", "KIND[:OPTION...]", "delays, limits, faults, traces; may be repeated, the first is nearest to the initiator (filters are listed below)") { MayRepeat = true },
    ];

    public static IReadOnlyList<BackstoreKind> All { get; } =
    [
        new("memory", "size", "SIZE", "a disk in memory, thin; gone when LunKit ends", "memory:1G", [], (spec, _, _) => new MemoryBackstore(OfSize(spec))) { Check = s => s.Size(s.Argument) },
        new("file", "path", "PATH", "an image file, thin; PATH alone is the same", "file:/srv/disk.img,size=100G",
        [
            new("size", "SIZE", "create the image, or grow it to this size"),
            new("preallocate", "", "reserve the space of the whole image at once"),
            new("direct", "", "past the host's page cache (O_DIRECT)"),
        ], OpenFile) { KeepsState = true },
        new("block", "device", "/dev/NAME", "a block device, past the page cache; nobody else may use it meanwhile", "block:/dev/sdb", [],
            (spec, readOnly, _) => BlockBackstore.Open(new() { Path = spec.Argument, BlockSize = spec.Option("block") is null ? null : spec.Block, ReadOnly = readOnly })) { IsPlace = true },
        new("rbd", "image", "POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]", "a Ceph RBD image (librbd)", "rbd:rbd/disk1,id=lunkit",
        [
            new("conf", "PATH", "Ceph's configuration ($CEPH_CONF, else /etc/ceph/ceph.conf)"),
            new("id", "NAME", "user, without 'client.' (admin)"),
            new("keyring", "PATH", "keyring of the user (the one that the configuration names)"),
            s_timeout,
            new("cache", "on|off", "librbd's write-back cache; what is not flushed is lost with LunKit (off)"),
            s_knownSize,
        ], OpenRbd) { Check = s => Rbd(s, false), IsPlace = true },
        new("gluster", "location", "HOST[:PORT]/VOLUME/PATH", "a file on a Gluster volume (libgfapi)", "gluster:storage1/gv0/disk.img,size=10G",
        [
            new("servers", "HOST[:PORT]+...", "more servers to get the volume's layout from, when HOST does not answer"),
            new("transport", "tcp|unix|rdma", "how the servers are reached (tcp; unix: HOST is the path of a socket, with %2F for '/')"),
            s_timeout,
            new("size", "SIZE", "create the file, or grow it to this size; with it LunKit starts also while the volume cannot be reached"),
            new("sync", "", "every write is on the servers' media before it is acknowledged (O_DSYNC)"),
            new("logfile", "PATH", "libgfapi's own log (none)"),
        ], OpenGluster) { Check = s => Gluster(s, false), IsPlace = true },
        new("null", "size", "SIZE", "takes writes, reads zeroes; for measuring", "null:1T", [], (spec, _, _) => new NullBackstore(OfSize(spec))) { Check = s => s.Size(s.Argument) },
    ];

    public static BackstoreKind? Find(string name) => All.FirstOrDefault(k => k.Name == name);

    private static BackstoreGeometry OfSize(SpecText spec) => new(spec.Size(spec.Argument)) { BlockSize = spec.Block, PhysicalBlockSize = spec.Physical };

    private static FileBackstore OpenFile(SpecText spec, bool readOnly, Microsoft.Extensions.Logging.ILogger log) => FileBackstore.Open(new()
    {
        Path = spec.Argument, SizeBytes = spec.SizeOption("size"), BlockSize = spec.Block, PhysicalBlockSize = spec.Physical, ReadOnly = readOnly,
        Preallocate = spec.Flag("preallocate"), Direct = spec.Flag("direct"),
    });

    private static RbdBackstore OpenRbd(SpecText spec, bool readOnly, Microsoft.Extensions.Logging.ILogger log) => RbdBackstore.Open(Rbd(spec, readOnly), log);

    private static RbdBackstoreOptions Rbd(SpecText spec, bool readOnly)
    {
        int at = spec.Argument.LastIndexOf('@');
        string[] parts = (at < 0 ? spec.Argument : spec.Argument[..at]).Split('/');
        if (parts.Length is < 2 or > 3 || parts.Any(p => p.Length == 0) || at == spec.Argument.Length - 1)
            throw spec.Wrong($"'{spec.Argument}' is not POOL[/NAMESPACE]/IMAGE[@SNAPSHOT], e.g. rbd:rbd/disk1");
        return new RbdBackstoreOptions
        {
            Pool = parts[0], Namespace = parts.Length == 3 ? parts[1] : "", Image = parts[^1], Snapshot = at < 0 ? null : spec.Argument[(at + 1)..],
            ConfigurationFile = spec.Option("conf"), Id = spec.Option("id"), KeyringFile = spec.Option("keyring"), Timeout = spec.Seconds("timeout", 25),
            Cache = spec.Flag("cache"), ReadOnly = readOnly, BlockSize = spec.Block, PhysicalBlockSize = spec.Physical, SizeBytes = spec.SizeOption("size"),
        };
    }

    private static GlusterBackstore OpenGluster(SpecText spec, bool readOnly, Microsoft.Extensions.Logging.ILogger log) => GlusterBackstore.Open(Gluster(spec, readOnly), log);

    private static GlusterBackstoreOptions Gluster(SpecText spec, bool readOnly)
    {
        string[] parts = spec.Argument.Split('/', 3);
        if (parts.Length < 3 || parts.Any(p => p.Length == 0)) throw spec.Wrong($"'{spec.Argument}' is not HOST[:PORT]/VOLUME/PATH, e.g. gluster:storage1/gv0/disk.img");
        string transport = spec.Option("transport") ?? "tcp";
        if (transport is not ("tcp" or "unix" or "rdma")) throw spec.Wrong($"transport={transport} is not tcp, unix or rdma");
        var servers = (spec.Option("servers") ?? "").Split('+', StringSplitOptions.RemoveEmptyEntries).Prepend(parts[0]);
        return new GlusterBackstoreOptions
        {
            Servers = [.. servers.Select(s => Server(spec, s, transport))], Transport = transport, Volume = parts[1], Path = parts[2], Timeout = spec.Seconds("timeout", 25),
            ReadOnly = readOnly, BlockSize = spec.Block, PhysicalBlockSize = spec.Physical, SizeBytes = spec.SizeOption("size"), LogFile = spec.Option("logfile"), Sync = spec.Flag("sync"),
        };
    }

    private static GlusterServer Server(SpecText spec, string text, string transport)
    {
        if (transport == "unix") return new GlusterServer(Uri.UnescapeDataString(text), 0);
        int colon = text.LastIndexOf(':');
        if (colon < 0 || text.EndsWith(']')) return new GlusterServer(text.Trim('[', ']'), GlusterServer.DefaultPort);
        return ushort.TryParse(text.AsSpan(colon + 1), out ushort port) && port > 0 ? new GlusterServer(text[..colon].Trim('[', ']'), port) : throw spec.Wrong($"'{text[(colon + 1)..]}' is not a port");
    }
}
