using LunKit.App.Serve;
using LunKit.Backstores;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Backstores;

/// <summary>An option of a backstore on the command line.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Value">What stands after '='; empty for a switch.</param>
/// <param name="Meaning">What it does, and its default.</param>
internal sealed record BackstoreOption(string Name, string Value, string Meaning)
{
    /// <summary>Whether its name alone says enough; else a value must follow.</summary>
    public bool IsSwitch => Value is "" or "on|off";

    /// <summary>Whether it may stand several times.</summary>
    public bool MayRepeat { get; init; }

    public string Syntax => Value.Length == 0 ? Name : $"{Name}={Value}";
}

/// <summary>A kind of backstore: how it is written, what its options are, and how it is opened.</summary>
/// <param name="Name">What stands before the colon.</param>
/// <param name="Key">Name of its argument in the configuration.</param>
/// <param name="Argument">What stands after it.</param>
/// <param name="Summary">What it is.</param>
/// <param name="Example">One that works, for help.</param>
/// <param name="Options">Those of its own.</param>
/// <param name="Open">Opens it. Throws <see cref="BackstoreException"/> or <see cref="UserException"/>.</param>
internal sealed record BackstoreKind(
    string Name, string Key, string Argument, string Summary, string Example, IReadOnlyList<BackstoreOption> Options, Func<SpecText, bool, ILogger, IBackstore> Open)
{
    /// <summary>Checks what can be checked without opening it. Throws <see cref="UserException"/>.</summary>
    public Action<SpecText>? Check { get; init; }

    /// <summary>Whether its argument names the same bytes wherever it is served, so that the unit's identity follows from it.</summary>
    public bool IsPlace { get; init; }

    /// <summary>Whether a state file beside it is its own.</summary>
    public bool KeepsState { get; init; }

    public string Syntax => $"{Name}:{Argument}";
}
