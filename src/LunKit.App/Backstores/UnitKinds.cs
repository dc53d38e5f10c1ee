using LunKit.App.Serve;

namespace LunKit.App.Backstores;

/// <summary>A kind of unit: how it is written on the command line and in the configuration, and how that is read.</summary>
/// <param name="Name">What stands before the colon.</param>
/// <param name="Key">Name of its argument in the configuration.</param>
/// <param name="Argument">What stands for the argument in help.</param>
/// <param name="Summary">What it is.</param>
/// <param name="Example">One that works, for help.</param>
/// <param name="Options">All of its options.</param>
/// <param name="Read">Reads its words; throws <see cref="UserException"/>.</param>
internal sealed record UnitKind(
    string Name, string Key, string Argument, string Summary, string Example, IReadOnlyList<BackstoreOption> Options, Func<SpecText, UnitSpec> Read)
{
    /// <summary>Whether it is a backstore of bytes, which filters can lie over and other commands can open, too.</summary>
    public bool IsBytes { get; init; }

    /// <summary>An option that it cannot do without; null: there is none.</summary>
    public string? Needs { get; init; }

    public string Syntax => $"{Name}:{Argument}{(Needs is null ? "" : $",{Needs}={Options.First(o => o.Name == Needs).Value}")}";
}

/// <summary>All that can be served as a unit: what the command line, the configuration and the documents know.</summary>
internal static class UnitKinds
{
    public static IReadOnlyList<UnitKind> All { get; } =
    [
        .. BackstoreKinds.All.Select(k => new UnitKind(k.Name, k.Key, k.Argument, k.Summary, k.Example, [.. BackstoreKinds.Common, .. k.Options], text => new BackstoreSpec(text, k)) { IsBytes = true }),
        new(PassThroughSpec.KindName, "device", "/dev/sgN", "a real SCSI device of any type: commands, sense and residuals pass unchanged", "pscsi:/dev/sg3", PassThroughSpec.Known, text => new PassThroughSpec(text)),
        new(UserUnitSpec.KindName, "config", "SUBTYPE/PATH", "answered by a handler process over the TCMU ring (docs/handlers.md)", "user:file//srv/d.img,size=10G,handler=auto",
            UserUnitSpec.Known, text => new UserUnitSpec(text)) { Needs = "size" },
    ];

    public static UnitKind? Find(string name) => All.FirstOrDefault(k => k.Name == name);
}
