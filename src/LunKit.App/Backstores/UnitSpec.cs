using LunKit.App.Serve;

namespace LunKit.App.Backstores;

/// <summary>What somebody asks to serve as a unit, on the command line or in the configuration: a kind, its argument, and options that have been checked.</summary>
internal abstract class UnitSpec(SpecText text)
{
    private protected SpecText Asked { get; } = text;

    /// <summary>How it is written on the command line, for messages.</summary>
    public string Text => Asked.Text;

    /// <summary>Name of its kind.</summary>
    public string Kind => Asked.Kind;

    /// <summary>What stands behind the kind.</summary>
    public string Argument => Asked.Argument;

    /// <summary>The options that were given, and their values, in order.</summary>
    public IReadOnlyList<(string Name, string Value)> Options => Asked.Given;

    /// <summary>
    /// A command that is its handler, to be started with the target; "auto" for LunKit's own; null: it needs none, or somebody else starts it.
    /// </summary>
    public virtual string? Handler => null;

    /// <summary>Reads <c>KIND:ARGUMENT[,option[=value]...]</c>, or the path of an image file. Throws <see cref="UserException"/>.</summary>
    public static UnitSpec Parse(string text)
    {
        // A kind that is not known, or a path, is a backstore's to explain.
        var kind = UnitKinds.Find(SpecText.KindOf(text));
        return kind is null or { IsBytes: true } ? BackstoreSpec.Parse(text) : kind.Read(SpecText.Parse(text, kind.Argument, kind.Options));
    }

    /// <summary>Opens it as a unit. Throws <see cref="UserException"/> with a message for the operator; nothing is left then.</summary>
    public abstract ServedUnit Open(UnitContext context);

    /// <summary>Deletes what <see cref="Open"/> has created: nobody has used it. Its unit is still open.</summary>
    public virtual void DeleteCreated()
    {
    }
}
