namespace LunKit.Backstores;

/// <summary>How a file is served.</summary>
public sealed record FileBackstoreOptions
{
    /// <summary>Path of the image.</summary>
    public required string Path { get; init; }

    /// <summary>Size in bytes that an image is created with, or grown to; a larger one stays as it is. Null: the file as it is.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>Logical block size in bytes.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Physical block size in bytes reported to initiators.</summary>
    public int PhysicalBlockSize { get; init; } = 4096;

    /// <summary>Open for reading only.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Reserve the space of the whole image at once, so that no write can run out of it.</summary>
    public bool Preallocate { get; init; }

    /// <summary>Go past the host's page cache (O_DIRECT) with every transfer that covers whole 4 KiB pages.</summary>
    public bool Direct { get; init; }
}
