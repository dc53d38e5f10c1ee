using LunKit.Backstores;
using LunKit.LogicalUnits;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>
/// What an argument of <c>lunkit serve</c> says: <c>memory:SIZE</c>, <c>file:PATH[,size=SIZE]</c>, <c>null:SIZE</c>, or a path, and
/// options after commas.
/// </summary>
internal sealed record BackstoreSpec
{
    private static readonly string[] s_known = ["size", "block", "physical", "readonly", "removable", "preallocate", "direct", "writecache", "serial", "longcdbs", "eraserate"];

    public required string Kind { get; init; }

    public required string Argument { get; init; }

    public required string Text { get; init; }

    private IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    public static BackstoreSpec Parse(string text)
    {
        string[] parts = text.Split(',');
        int colon = parts[0].IndexOf(':', StringComparison.Ordinal);
        string kind = colon < 0 ? "file" : parts[0][..colon], argument = colon < 0 ? parts[0] : parts[0][(colon + 1)..];
        if (colon >= 0 && kind is not ("file" or "memory" or "null"))
            throw new UserException($"backstore '{text}': kind '{kind}' is not known; use memory:SIZE, file:PATH or null:SIZE", 2);
        if (argument.Length == 0) throw new UserException($"backstore '{text}': {(kind == "file" ? "a path" : "a size")} is missing after '{kind}:'", 2);
        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string part in parts.Skip(1))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            if (!s_known.Contains(key)) throw new UserException($"backstore '{text}': option '{key}' is not known; there are {string.Join(", ", s_known)}", 2);
            if (!options.TryAdd(key, equals < 0 ? "yes" : part[(equals + 1)..])) throw new UserException($"backstore '{text}': option '{key}' stands twice", 2);
        }
        var spec = new BackstoreSpec { Kind = kind, Argument = argument, Text = text, Options = options };
        if (kind != "file") _ = spec.SizeOf(argument);
        if (spec.Block is < 512 or > 65536 || !int.IsPow2(spec.Block)) throw new UserException($"backstore '{text}': block={spec.Block} is not 512 or 4096", 2);
        return spec;
    }

    private int Block => (int)SizeOf(Options.GetValueOrDefault("block", "512"));

    private int Physical => Math.Max(Block, (int)SizeOf(Options.GetValueOrDefault("physical", "4096")));

    private bool Flag(string name, bool otherwise = false) => Options.GetValueOrDefault(name) switch
    {
        null => otherwise,
        "yes" or "on" or "true" or "1" => true,
        "no" or "off" or "false" or "0" => false,
        var value => throw new UserException($"backstore '{Text}': {name}={value} is not on or off", 2),
    };

    private long SizeOf(string size) => ByteSize.TryParse(size, out long bytes)
        ? bytes
        : throw new UserException($"backstore '{Text}': '{size}' is not a size; write 512M, 10G or 1T", 2);

    /// <summary>Opens the backstore as a logical unit.</summary>
    /// <param name="readOnly">Refuse writes, whatever the spec says.</param>
    /// <param name="writeCache">Initial state of the write cache.</param>
    /// <param name="identity">Text that names the unit where the backstore keeps no state of its own: target and LUN.</param>
    /// <param name="log">Log of the unit.</param>
    /// <param name="names">The unit's names, where somebody else has given them.</param>
    public BlockUnit Open(bool readOnly, bool writeCache, string identity, ILogger log, UnitIdentity? names = null)
    {
        readOnly |= Flag("readonly");
        var options = new BlockUnitOptions
        {
            Identity = names, ReadOnly = readOnly, WriteCache = Flag("writecache", writeCache), Removable = Flag("removable"),
            LongCdbs = Flag("longcdbs", otherwise: true), EraseBytesPerSecond = Options.TryGetValue("eraserate", out var rate) ? SizeOf(rate) : 0,
        };
        var id = UnitIdentity.IdOf(Options.GetValueOrDefault("serial", identity));
        try
        {
            var store = OpenStore(readOnly);
            return store is FileBackstore file ? WithState(file, readOnly, options, log) : new BlockUnit(store, Text, new VolatileUnitState(id), options, log);
        }
        catch (BackstoreException e)
        {
            throw new UserException(e.Message, inner: e);
        }
        catch (ArgumentException e)
        {
            throw new UserException($"backstore '{Text}': {e.Message}", 2);
        }
    }

    /// <summary>Opens the backstore alone. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public IBackstore OpenStore(bool readOnly)
    {
        readOnly |= Flag("readonly");
        var geometry = new BackstoreGeometry(Kind == "file" ? 0 : SizeOf(Argument)) { BlockSize = Block, PhysicalBlockSize = Physical };
        return Kind switch
        {
            "memory" => new MemoryBackstore(geometry),
            "null" => new NullBackstore(geometry),
            _ => FileBackstore.Open(new FileBackstoreOptions
            {
                Path = Argument,
                SizeBytes = Options.TryGetValue("size", out var size) ? SizeOf(size) : null,
                BlockSize = Block,
                PhysicalBlockSize = Physical,
                ReadOnly = readOnly,
                Preallocate = Flag("preallocate"),
                Direct = Flag("direct"),
            }),
        };
    }

    private BlockUnit WithState(FileBackstore file, bool readOnly, BlockUnitOptions options, ILogger log)
    {
        try
        {
            return new BlockUnit(file, Argument, StateOf(readOnly), options, log);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            file.DisposeAsync().AsTask().GetAwaiter().GetResult();
            throw e as BackstoreException ?? (Exception)new UserException(
                $"{Argument}: its state file {Path.GetFullPath(Argument) + FileUnitState.Suffix} cannot be written: {e.Message}");
        }
    }

    /// <summary>
    /// State beside the image; a read-only image whose folder cannot be written has an identity that follows from its path.
    /// </summary>
    private IUnitStateStore StateOf(bool readOnly)
    {
        string path = Path.GetFullPath(Argument) + FileUnitState.Suffix;
        return readOnly && !File.Exists(path) ? new VolatileUnitState(UnitIdentity.IdOf(Path.GetFullPath(Argument))) : new FileUnitState(path);
    }
}
