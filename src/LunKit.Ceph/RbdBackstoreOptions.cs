namespace LunKit.Ceph;

/// <summary>Which RBD image is served, and how the cluster is reached.</summary>
public sealed record RbdBackstoreOptions
{
    /// <summary>Name of the pool.</summary>
    public required string Pool { get; init; }

    /// <summary>Namespace in the pool; empty for the default one.</summary>
    public string Namespace { get; init; } = "";

    /// <summary>Name of the image.</summary>
    public required string Image { get; init; }

    /// <summary>A snapshot of the image, which is served read-only; null for the image itself.</summary>
    public string? Snapshot { get; init; }

    /// <summary>Configuration file; null for <c>$CEPH_CONF</c>, else where Ceph looks for it.</summary>
    public string? ConfigurationFile { get; init; }

    /// <summary>User, without <c>client.</c>; null for <c>admin</c>.</summary>
    public string? Id { get; init; }

    /// <summary>Keyring file; null for the one that the configuration names.</summary>
    public string? KeyringFile { get; init; }

    /// <summary>How long an operation may wait for the cluster before it fails as one that may be tried again.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(25);

    /// <summary>Use librbd's write-back cache: the unit tells initiators of it, and what they have not flushed is lost with the process.</summary>
    public bool Cache { get; init; }

    /// <summary>Open for reading only.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Logical block size in bytes.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Physical block size in bytes that initiators are told of.</summary>
    public int PhysicalBlockSize { get; init; } = 4096;

    /// <summary>
    /// The size that the image has at least. With it the backstore opens also while the cluster cannot be reached, and connects when it can be; a
    /// smaller image is refused.
    /// </summary>
    public long? SizeBytes { get; init; }

    /// <summary>The image as Ceph's tools name it.</summary>
    public string Path => $"{Pool}/{(Namespace.Length > 0 ? Namespace + "/" : "")}{Image}{(Snapshot is null ? "" : "@" + Snapshot)}";
}
