using LunKit.App.Backstores;
using LunKit.App.CommandLine;
using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>What an argument of <c>lunkit serve</c> says: <c>KIND:ARGUMENT[,option[=value]...]</c>, or the path of an image file.</summary>
internal sealed class BackstoreSpec : UnitSpec
{
    private readonly BackstoreKind _kind;

    private readonly List<BackstoreFilter> _made = [];

    /// <summary>The filters over it, the first nearest to the initiator.</summary>
    public IReadOnlyList<FilterSpec> Filters { get; }

    /// <summary>Checks the words. Throws <see cref="UserException"/>.</summary>
    public BackstoreSpec(SpecText text, BackstoreKind kind) : base(text)
    {
        (_kind, Filters) = (kind, [.. text.Options("filter").Select(filter => FilterText.Parse(filter, text.Wrong))]);
        foreach (var option in BackstoreKinds.Common.Concat(kind.Options))
        {
            if (option.Value == "SIZE") _ = text.SizeOption(option.Name);
            else if (option.IsSwitch) _ = text.Flag(option.Name);
        }
        kind.Check?.Invoke(text);
        _ = text.Block;
        _ = text.Physical;
    }

    /// <summary>The files that <see cref="Open"/> has created.</summary>
    private readonly List<string> _created = [];

    public static new BackstoreSpec Parse(string text)
    {
        string name = SpecText.KindOf(text);
        if (BackstoreKinds.Find(name) is not { } kind)
        {
            string known = string.Join(", ", UnitKinds.All.Select(k => k.Syntax));
            throw new UserException($"backstore '{text}': kind '{name}' is not known; there are {known} (lunkit backstores tells more)", 2);
        }
        // A kind's name alone would be a file's.
        if (!text.Contains(':') && UnitKinds.Find(text.Split(',')[0]) is { Syntax: var syntax } && !File.Exists(text.Split(',')[0]))
            throw new UserException($"backstore '{text}': write {syntax}; a file of that name is ./{text}", 2);
        return new BackstoreSpec(SpecText.Parse(text, kind.Argument, [.. BackstoreKinds.Common, .. kind.Options]), kind);
    }

    /// <inheritdoc/>
    public override ServedUnit Open(UnitContext context)
    {
        var unit = Open(context.ReadOnly, context.WriteCache, context.Identity, context.Log, names: null, context.States);
        return ServedUnit.Of(unit) with { Filters = [.. _made] };
    }

    /// <summary>Opens the backstore as a logical unit.</summary>
    /// <param name="readOnly">Refuse writes, whatever the spec says.</param>
    /// <param name="writeCache">Initial state of the write cache.</param>
    /// <param name="identity">Text that names the unit where the backstore keeps no state of its own: target and LUN.</param>
    /// <param name="log">Log of the unit.</param>
    /// <param name="names">The unit's names, where somebody else has given them.</param>
    /// <param name="states">Where the state of devices and images in clusters is kept; null: nowhere.</param>
    /// <param name="succession">Whether another process can serve the unit next.</param>
    public BlockUnit Open(
        bool readOnly, bool writeCache, string identity, ILogger log, UnitIdentity? names = null, StateFolder? states = null, UnitSuccession succession = default)
    {
        readOnly |= Asked.Flag("readonly");
        var options = new BlockUnitOptions
        {
            Identity = names, Succession = succession, ReadOnly = readOnly, WriteCache = Asked.Flag("writecache", writeCache), Removable = Asked.Flag("removable"),
            LongCdbs = Asked.Flag("longcdbs", otherwise: true), EraseBytesPerSecond = Asked.SizeOption("eraserate") ?? 0,
        };
        // A device, or an image in a cluster, is the same disk whichever LUN it has.
        var id = UnitIdentity.IdOf(Asked.Option("serial") ?? (!_kind.IsPlace ? identity : Kind == "block" ? Path.GetFullPath(Argument) : $"{Kind}:{Argument}"));
        try
        {
            var store = OpenBytes(readOnly, log);
            if (store is FileBackstore { Created: { } created }) NoteCreated(created);
            var unit = WithState(store, () => StateOf(readOnly, id, states), options, log);
            if (Filters.Count > 0) ServeLog.HasFilters(log, unit.Identity.Name, string.Join(", ", Filters.Select(f => f.Text)));
            // Whoever gives names (the kernel's target) has a size of his own, and refuses another.
            if (names is null && Asked.SizeOption("size") is { } size && unit.Store.Geometry.LengthBytes > size) ServeLog.LargerThanSize(log, Text, unit.Store.Geometry.LengthBytes);
            return unit;
        }
        catch (BackstoreException e)
        {
            throw new UserException(e.Message, inner: e);
        }
        catch (ArgumentException e)
        {
            throw new UserException($"backstore '{Text}': {Words.Of(e)}", 2);
        }
    }

    /// <summary>Opens the backstore with its filters, alone. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public IBackstore OpenStore(bool readOnly, ILogger log)
    {
        var store = OpenBytes(readOnly, log);
        try
        {
            AddFilters(ref store, log);
            return store;
        }
        catch
        {
            Dispose(store);
            throw;
        }
    }

    private IBackstore OpenBytes(bool readOnly, ILogger log) => _kind.Open(Asked, readOnly || Asked.Flag("readonly"), log);

    /// <summary>Puts the filters over a backstore; where one cannot be made, <paramref name="store"/> is what has been made so far.</summary>
    private void AddFilters(ref IBackstore store, ILogger log)
    {
        _made.Clear();
        foreach (var filter in Filters.Reverse())
        {
            var made = filter.Over(store, log);
            _made.Insert(0, made);
            store = made;
        }
    }

    private static void Dispose(IBackstore store) => store.DisposeAsync().AsTask().GetAwaiter().GetResult();

    private BlockUnit WithState(IBackstore store, Func<IUnitStateStore> open, BlockUnitOptions options, ILogger log)
    {
        IUnitStateStore? state = null;
        try
        {
            state = open();
            AddFilters(ref store, log);
            return new BlockUnit(store, Kind == "file" ? Argument : Text, state, options, log);
        }
        catch (Exception e)
        {
            (state as IDisposable)?.Dispose();
            DeleteCreated();
            Dispose(store);
            if (e is BackstoreException or not (IOException or UnauthorizedAccessException)) throw;
            throw new UserException($"{Argument}: its state file cannot be written: {FileErrors.Why(e)}", inner: e);
        }
    }

    /// <summary>The image, and the state file beside it unless there is one already: of an image of this name that is gone.</summary>
    private void NoteCreated(string image)
    {
        _created.Add(image);
        string state = StateBeside(Argument);
        if (!File.Exists(state)) _created.Add(state);
    }

    /// <summary>Deletes what <see cref="Open"/> has created: nobody has used it. Its unit is still open, so that the image's lock keeps others away.</summary>
    public override void DeleteCreated()
    {
        foreach (string file in _created) File.Delete(file);
        _created.Clear();
    }

    /// <summary>
    /// Beside the image itself: over a link it is the same disk, with the same reservations. State that lies beside the link already is used.
    /// </summary>
    private static string StateBeside(string path)
    {
        string named = Path.GetFullPath(path + FileUnitState.Suffix);
        return !File.Exists(named) && File.ResolveLinkTarget(Path.GetFullPath(path), returnFinalTarget: true) is { } image ? image.FullName + FileUnitState.Suffix : named;
    }

    /// <summary>
    /// State where it is asked for; beside an image; in the folder of states for what is no file but a place of its own. A read-only image whose
    /// folder has no state has an identity that follows from its path.
    /// </summary>
    private IUnitStateStore StateOf(bool readOnly, Guid id, StateFolder? states)
    {
        if (Asked.Option("state") is { } asked) return FileUnitState.Lock(Path.GetFullPath(asked), _kind.IsPlace ? id : null);
        if (!_kind.KeepsState)
            return _kind.IsPlace && states is not null ? states.Open(Text, $"{Kind}:{(Kind == "block" ? DeviceName.Of(Argument) : Argument)}", id, mayShare: readOnly) : new VolatileUnitState(id);
        string beside = StateBeside(Argument);
        // Nobody else has the image open, when it is writable.
        if (!readOnly) return new FileUnitState(beside);
        if (!FileUnitState.Exists(beside)) return new VolatileUnitState(UnitIdentity.IdOf(Path.GetFullPath(Argument)));
        try
        {
            return FileUnitState.Lock(beside);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Several may serve a read-only image: the first keeps its state.
            return new VolatileUnitState(new FileUnitState(beside).Load().Id);
        }
    }
}
