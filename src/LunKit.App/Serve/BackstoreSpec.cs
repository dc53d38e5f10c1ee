using LunKit.Backstores;
using LunKit.LogicalUnits;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>
/// What an argument of <c>lunkit serve</c> says: <c>memory:SIZE</c>, <c>file:PATH[,size=SIZE]</c>, <c>null:SIZE</c>, or a path, and
/// options after commas.
/// </summary>
internal sealed class BackstoreSpec
{
    private static readonly string[] s_kinds = ["memory", "file", "block", "null"];
    private static readonly string[] s_options = ["size", "block", "physical", "readonly", "removable", "preallocate", "direct", "writecache", "serial", "longcdbs", "eraserate", "state"];

    private readonly SpecText _text;

    private BackstoreSpec(SpecText text) => _text = text;

    public string Kind => _text.Kind;

    public string Argument => _text.Argument;

    public string Text => _text.Text;

    public static BackstoreSpec Parse(string text)
    {
        string kind = SpecText.KindOf(text);
        if (!s_kinds.Contains(kind)) throw new UserException($"backstore '{text}': kind '{kind}' is not known; use memory:SIZE, file:PATH, block:/dev/NAME, null:SIZE or user:SUBTYPE/PATH", 2);
        var spec = new BackstoreSpec(SpecText.Parse(text, kind is "file" or "block" ? "a path" : "a size", s_options));
        if (kind is "memory" or "null") _ = spec._text.Size(spec.Argument);
        _ = spec._text.Block;
        return spec;
    }

    private int Physical => Math.Max(_text.Block, (int)(_text.SizeOption("physical") ?? 4096));

    /// <summary>Opens the backstore as a logical unit.</summary>
    /// <param name="readOnly">Refuse writes, whatever the spec says.</param>
    /// <param name="writeCache">Initial state of the write cache.</param>
    /// <param name="identity">Text that names the unit where the backstore keeps no state of its own: target and LUN.</param>
    /// <param name="log">Log of the unit.</param>
    /// <param name="names">The unit's names, where somebody else has given them.</param>
    public BlockUnit Open(bool readOnly, bool writeCache, string identity, ILogger log, UnitIdentity? names = null)
    {
        readOnly |= _text.Flag("readonly");
        var options = new BlockUnitOptions
        {
            Identity = names, ReadOnly = readOnly, WriteCache = _text.Flag("writecache", writeCache), Removable = _text.Flag("removable"),
            LongCdbs = _text.Flag("longcdbs", otherwise: true), EraseBytesPerSecond = _text.SizeOption("eraserate") ?? 0,
        };
        // A device is the same disk whichever LUN it has.
        var id = UnitIdentity.IdOf(_text.Option("serial") ?? (Kind == "block" ? Path.GetFullPath(Argument) : identity));
        try
        {
            var store = OpenStore(readOnly);
            if (store is FileBackstore || _text.Option("state") is not null) return WithState(store, readOnly, options, log);
            return new BlockUnit(store, Text, new VolatileUnitState(id), options, log);
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

    /// <summary>The shape of a disk whose size is its argument.</summary>
    private BackstoreGeometry Geometry => new(_text.Size(Argument)) { BlockSize = _text.Block, PhysicalBlockSize = Physical };

    /// <summary>Opens the backstore alone. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public IBackstore OpenStore(bool readOnly)
    {
        readOnly |= _text.Flag("readonly");
        return Kind switch
        {
            "memory" => new MemoryBackstore(Geometry),
            "null" => new NullBackstore(Geometry),
            "block" => BlockBackstore.Open(new BlockBackstoreOptions { Path = Argument, BlockSize = _text.Option("block") is null ? null : _text.Block, ReadOnly = readOnly }),
            _ => FileBackstore.Open(new FileBackstoreOptions
            {
                Path = Argument,
                SizeBytes = _text.SizeOption("size"),
                BlockSize = _text.Block,
                PhysicalBlockSize = Physical,
                ReadOnly = readOnly,
                Preallocate = _text.Flag("preallocate"),
                Direct = _text.Flag("direct"),
            }),
        };
    }

    private BlockUnit WithState(IBackstore store, bool readOnly, BlockUnitOptions options, ILogger log)
    {
        try
        {
            return new BlockUnit(store, Kind == "file" ? Argument : Text, StateOf(readOnly), options, log);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            store.DisposeAsync().AsTask().GetAwaiter().GetResult();
            throw e as BackstoreException ?? (Exception)new UserException($"{Argument}: its state file {StatePath} cannot be written: {e.Message}");
        }
    }

    private string StatePath => Path.GetFullPath(_text.Option("state") ?? Argument + FileUnitState.Suffix);

    /// <summary>
    /// State beside the image, or where it is asked for; a read-only image whose folder cannot be written has an identity that follows from its path.
    /// </summary>
    private IUnitStateStore StateOf(bool readOnly) =>
        readOnly && !File.Exists(StatePath) ? new VolatileUnitState(UnitIdentity.IdOf(Path.GetFullPath(Argument))) : new FileUnitState(StatePath);
}
