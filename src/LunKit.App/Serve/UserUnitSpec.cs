using System.Buffers;
using LunKit.App.Backstores;
using LunKit.App.CommandLine;
using LunKit.App.Handle;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Target;

namespace LunKit.App.Serve;

/// <summary>
/// What <c>user:SUBTYPE/PATH,size=SIZE</c> says: a unit whose commands a handler process answers, over the TCMU ring.
/// </summary>
internal sealed class UserUnitSpec : UnitSpec
{
    public const string KindName = "user";

    /// <summary>Its options.</summary>
    public static IReadOnlyList<BackstoreOption> Known { get; } =
    [
        new("size", "SIZE", "size of the disk, which the target must know"),
        new("block", "512|4096", "logical block size (512)"),
        new("handler", "auto|COMMAND", "the handler process, started with the target and again when it ends; auto: LunKit's own (somebody else starts it)"),
        new("timeout", "SECONDS", "how long a command may take, 0 for ever (30)"),
        new("memory", "SIZE", "shared memory for the data of commands (64M)"),
        new("serial", "TEXT", "where the identity of the unit comes from (target and LUN)"),
        new("state", "FILE", "keeps identity and reservations over restarts (in memory)"),
    ];

    // With one of them the shell may read something else than a path.
    private static readonly SearchValues<char> s_shell = SearchValues.Create("$`\"'\\=(){}~*?<>|&;");

    /// <summary>Checks the words. Throws <see cref="UserException"/>.</summary>
    public UserUnitSpec(SpecText text) : base(text)
    {
        int slash = Config.IndexOf('/', StringComparison.Ordinal);
        if (slash < 1 || slash == Config.Length - 1) throw text.Wrong($"'{Config}' is not SUBTYPE/PATH, e.g. user:file//srv/disk.img,size=10G");
        if (text.SizeOption("size") is not > 0) throw text.Wrong("size= is missing: the target must know how large the disk is");
        _ = BlockSize;
        _ = Ring;
        CheckHandler(Config[..slash]);
    }

    public string Config => Argument;

    public long SizeBytes => Asked.SizeOption("size")!.Value;

    public int BlockSize => Asked.Block;

    /// <inheritdoc/>
    public override string? Handler => Asked.Option("handler");

    public static new UserUnitSpec Parse(string text) => new(SpecText.Parse(text, "SUBTYPE/PATH", Known));

    /// <inheritdoc/>
    public override ServedUnit Open(UnitContext context) => ServedUnit.Of(Open(context.Handlers(), context.Name, context.Identity), this);

    /// <summary>What can be seen before a handler is started, and started again for ever: LunKit's own does not know the subtype, or there is no such program.</summary>
    private void CheckHandler(string subtype)
    {
        if (Handler == "auto" && Subtype.BuiltIn.All(s => s.Name != subtype))
            throw Asked.Wrong($"handler=auto has no subtype '{subtype}'; it has {string.Join(", ", Subtype.BuiltIn.Select(s => s.Name))} (lunkit handle --help)");
        // A command is the shell's to read; a path alone can be looked at.
        if (Handler?.Split(' ')[0] is { } program && program.Contains('/') && !program.AsSpan().ContainsAny(s_shell) && FileKinds.Of(program) != FileKind.Regular)
            throw Asked.Wrong($"handler={program}: there is no such program");
    }

    private UserRingOptions Ring
    {
        get
        {
            var ring = new UserRingOptions();
            if (Asked.Option("timeout") is { } timeout)
            {
                if (!int.TryParse(timeout, out int seconds) || seconds < 0) throw Asked.Wrong($"timeout={timeout} is not a number of seconds; 0 is none");
                ring = ring with { CommandTimeout = TimeSpan.FromSeconds(seconds) };
            }
            if (Asked.SizeOption("memory") is not { } memory) return ring;
            if (memory is < 1 << 20 or > 1 << 30) throw Asked.Wrong("memory= is not between 1M and 1G");
            return ring with { DataAreaBytes = (int)memory };
        }
    }

    /// <summary>Makes the unit.</summary>
    public RingUnit Open(HandlerListener handlers, string name, string identity)
    {
        IUnitStateStore? state = null;
        try
        {
            state = Asked.Option("state") is { } path ? FileUnitState.Lock(Path.GetFullPath(path)) : new VolatileUnitState(UnitIdentity.IdOf(Asked.Option("serial") ?? identity));
            // Saved at once: a new identity must not be another one after a restart.
            var remembered = state.Load();
            state.Save(remembered);
            return handlers.Add(new UserDeviceOptions
            {
                Config = Config, Name = name, SizeBytes = SizeBytes, BlockSize = BlockSize, Ring = Ring, State = state,
                Identity = new UnitIdentity { Name = Text, Id = remembered.Id },
            });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            (state as IDisposable)?.Dispose();
            throw new UserException($"backstore '{Text}': {FileErrors.Why(e)}", inner: e);
        }
        catch (ArgumentException e)
        {
            (state as IDisposable)?.Dispose();
            throw Asked.Wrong(Words.Of(e));
        }
    }
}
