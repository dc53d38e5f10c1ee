using System.Globalization;
using LunKit.App.Backstores;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>What <c>pscsi:/dev/sgN[,option...]</c> says: a unit that is a real SCSI device.</summary>
internal sealed class PassThroughSpec
{
    public const string Kind = "pscsi";

    private readonly SpecText _text;

    private PassThroughSpec(SpecText text) => _text = text;

    /// <summary>Its options.</summary>
    public static IReadOnlyList<BackstoreOption> Options { get; } =
    [
        new("policy", "safe|all", "safe: what the standards have, but no firmware, formatting, sanitizing, security, ATA tunnels and copies between devices (safe)"),
        new("allow", "OPCODE+...", "commands, in hexadecimal, that policy=safe lets through all the same"),
        new("readonly", "", "refuse what writes (disks)"),
        new("timeout", "SECONDS", "how long a command may take (60 for disks, 14400 for others)"),
        new("serial", "TEXT", "where the identity of reservations comes from (the path)"),
        new("state", "FILE", "keeps reservations over restarts (a file in --state-dir)"),
    ];

    public static bool Matches(string text) => SpecText.KindOf(text) == Kind;

    public string Argument => _text.Argument;

    public static PassThroughSpec Parse(string text)
    {
        var spec = new PassThroughSpec(SpecText.Parse(text, "/dev/sgN", Options));
        _ = spec.Build(false);
        return spec;
    }

    private PassThroughOptions Build(bool readOnly) => new()
    {
        Path = _text.Argument, ReadOnly = readOnly || _text.Flag("readonly"), Policy = Policy.Allow(Allowed),
        Timeout = _text.Option("timeout") is null ? null : TimeSpan.FromSeconds(_text.SizeOption("timeout") is { } seconds and <= 86400 ? seconds : throw _text.Wrong("timeout= is more than a day")),
    };

    private PassThroughPolicy Policy => _text.Option("policy") switch
    {
        null or "safe" => PassThroughPolicy.Safe,
        "all" => PassThroughPolicy.All,
        var other => throw _text.Wrong($"policy={other} is not safe or all"),
    };

    private IEnumerable<byte> Allowed => (_text.Option("allow") ?? "").Split('+', StringSplitOptions.RemoveEmptyEntries)
        .Select(code => byte.TryParse(code, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte opcode) ? opcode : throw _text.Wrong($"allow: '{code}' is no operation code such as 3B"));

    /// <summary>Opens the device.</summary>
    /// <param name="readOnly">Refuse writes, whatever the text says.</param>
    /// <param name="log">Log of the unit.</param>
    /// <param name="states">Where its state is kept; null: nowhere.</param>
    public PassThroughUnit Open(bool readOnly, ILogger log, StateFolder? states = null)
    {
        var id = UnitIdentity.IdOf(_text.Option("serial") ?? _text.Argument);
        IUnitStateStore? state = null;
        try
        {
            state = _text.Option("state") is { } path ? FileUnitState.Lock(Path.GetFullPath(path), id)
                : states?.Open(_text.Text, $"{Kind}:{DeviceName.Of(Argument)}", id, mayShare: false) ?? new VolatileUnitState(id);
            return PassThroughUnit.Open(Build(readOnly), state, log);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            (state as IDisposable)?.Dispose();
            throw new UserException(e is BackstoreException ? e.Message : $"{Argument}: its state file cannot be written: {e.Message}", inner: e);
        }
    }
}
