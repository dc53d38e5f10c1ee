using System.Globalization;
using LunKit.App.Backstores;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>What <c>pscsi:/dev/sgN[,option...]</c> says: a unit that is a real SCSI device.</summary>
internal sealed class PassThroughSpec : UnitSpec
{
    public const string KindName = "pscsi";

    /// <summary>Checks the words. Throws <see cref="UserException"/>.</summary>
    public PassThroughSpec(SpecText text) : base(text) => _ = Build(false);

    /// <summary>Its options.</summary>
    public static IReadOnlyList<BackstoreOption> Known { get; } =
    [
        new("policy", "safe|all", "safe: what the standards have, but no firmware, formatting, sanitizing, security, ATA tunnels and copies between devices (safe)"),
        new("allow", "OPCODE+...", "commands, in hexadecimal, that policy=safe lets through all the same"),
        new("readonly", "", "refuse what writes (disks)"),
        new("timeout", "SECONDS", "how long a command may take (60 for disks, 14400 for others)"),
        new("serial", "TEXT", "where the identity of reservations comes from (the path)"),
        new("state", "FILE", "keeps reservations over restarts (a file in --state-dir)"),
    ];

    public static bool Matches(string text) => SpecText.KindOf(text) == KindName;

    public static new PassThroughSpec Parse(string text) => new(SpecText.Parse(text, "/dev/sgN", Known));

    /// <inheritdoc/>
    public override ServedUnit Open(UnitContext context) => ServedUnit.Of(Open(context.ReadOnly, context.Log, context.States));

    private PassThroughOptions Build(bool readOnly) => new()
    {
        Path = Asked.Argument, ReadOnly = readOnly || Asked.Flag("readonly"), Policy = Policy.Allow(Allowed),
        Timeout = Asked.Option("timeout") is null ? null : TimeSpan.FromSeconds(Asked.SizeOption("timeout") is { } seconds and <= 86400 ? seconds : throw Asked.Wrong("timeout= is more than a day")),
    };

    private PassThroughPolicy Policy => Asked.Option("policy") switch
    {
        null or "safe" => PassThroughPolicy.Safe,
        "all" => PassThroughPolicy.All,
        var other => throw Asked.Wrong($"policy={other} is not safe or all"),
    };

    private IEnumerable<byte> Allowed => (Asked.Option("allow") ?? "").Split('+', StringSplitOptions.RemoveEmptyEntries)
        .Select(code => byte.TryParse(code, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte opcode) ? opcode : throw Asked.Wrong($"allow: '{code}' is no operation code such as 3B"));

    /// <summary>Opens the device.</summary>
    /// <param name="readOnly">Refuse writes, whatever the text says.</param>
    /// <param name="log">Log of the unit.</param>
    /// <param name="states">Where its state is kept; null: nowhere.</param>
    public PassThroughUnit Open(bool readOnly, ILogger log, StateFolder? states = null)
    {
        var id = UnitIdentity.IdOf(Asked.Option("serial") ?? Asked.Argument);
        IUnitStateStore? state = null;
        try
        {
            state = Asked.Option("state") is { } path ? FileUnitState.Lock(Path.GetFullPath(path), id)
                : states?.Open(Asked.Text, $"{Kind}:{DeviceName.Of(Argument)}", id, mayShare: false) ?? new VolatileUnitState(id);
            return PassThroughUnit.Open(Build(readOnly), state, log);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            (state as IDisposable)?.Dispose();
            throw new UserException(e is BackstoreException ? e.Message : $"{Argument}: its state file cannot be written: {e.Message}", inner: e);
        }
    }
}
