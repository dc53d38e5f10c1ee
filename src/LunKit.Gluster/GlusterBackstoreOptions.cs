namespace LunKit.Gluster;

/// <summary>A server that knows a volume's layout.</summary>
/// <param name="Host">Name or address; the path of a socket for the transport <c>unix</c>.</param>
/// <param name="Port">Port of glusterd.</param>
public sealed record GlusterServer(string Host, int Port)
{
    /// <summary>Where glusterd listens.</summary>
    public const int DefaultPort = 24007;
}

/// <summary>Which file of which volume is served, and how it is reached.</summary>
public sealed record GlusterBackstoreOptions
{
    /// <summary>Servers to get the volume's layout from, in the order in which they are asked.</summary>
    public required IReadOnlyList<GlusterServer> Servers { get; init; }

    /// <summary><c>tcp</c>, <c>unix</c> or <c>rdma</c>.</summary>
    public string Transport { get; init; } = "tcp";

    /// <summary>Name of the volume.</summary>
    public required string Volume { get; init; }

    /// <summary>Path of the file in the volume.</summary>
    public required string Path { get; init; }

    /// <summary>How long an operation may wait for the volume before it fails as one that may be tried again.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(25);

    /// <summary>Open for reading only.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Logical block size in bytes.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Physical block size in bytes that initiators are told of.</summary>
    public int PhysicalBlockSize { get; init; } = 4096;

    /// <summary>Create the file, or grow it to this size; with it the backstore opens also while the volume cannot be reached. Null: the file as it is.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>
    /// Every write is on the servers' media before it is acknowledged (O_DSYNC). Without it a server that loses power before a flush may have
    /// lost acknowledged writes, and the flush after its return not know of it.
    /// </summary>
    public bool Sync { get; init; }

    /// <summary>libgfapi's own log; null for none.</summary>
    public string? LogFile { get; init; }

    /// <summary>The file as URLs name it.</summary>
    public string Name => $"{Servers[0].Host}/{Volume}/{Path}";
}
