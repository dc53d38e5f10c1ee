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
    private static readonly string[] s_kinds = ["memory", "file", "null"];
    private static readonly string[] s_options = ["size", "block", "physical", "readonly", "removable", "preallocate", "direct", "writecache", "serial", "longcdbs", "eraserate"];

    private readonly SpecText _text;

    private BackstoreSpec(SpecText text) => _text = text;

    public string Kind => _text.Kind;

    public string Argument => _text.Argument;

    public string Text => _text.Text;

    public static BackstoreSpec Parse(string text)
    {
        string kind = SpecText.KindOf(text);
        if (!s_kinds.Contains(kind)) throw new UserException($"backstore '{text}': kind '{kind}' is not known; use memory:SIZE, file:PATH, null:SIZE or user:SUBTYPE/PATH", 2);
        var spec = new BackstoreSpec(SpecText.Parse(text, kind == "file" ? "a path" : "a size", s_options));
        if (kind != "file") _ = spec._text.Size(spec.Argument);
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
        var id = UnitIdentity.IdOf(_text.Option("serial") ?? identity);
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
        readOnly |= _text.Flag("readonly");
        var geometry = new BackstoreGeometry(Kind == "file" ? 0 : _text.Size(Argument)) { BlockSize = _text.Block, PhysicalBlockSize = Physical };
        return Kind switch
        {
            "memory" => new MemoryBackstore(geometry),
            "null" => new NullBackstore(geometry),
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
