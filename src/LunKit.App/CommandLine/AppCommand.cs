using System.CommandLine;

namespace LunKit.App.CommandLine;

/// <summary>A command of <c>lunkit</c>, with what its help shows around its arguments and options.</summary>
internal sealed class AppCommand : Command
{
    /// <summary>A command.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="summary">What it does, in a sentence: a line of <c>lunkit --help</c>.</param>
    /// <param name="symbols">Its arguments and options.</param>
    public AppCommand(string name, string summary, params IEnumerable<Symbol> symbols) : base(name, summary)
    {
        foreach (var symbol in symbols)
        {
            if (symbol is Argument argument) Arguments.Add(argument);
            else Options.Add((Option)symbol);
        }
    }

    /// <summary>What its help says before the options; may be empty.</summary>
    public string Details { get; init; } = "";

    /// <summary>Command lines that work, each with what it does.</summary>
    public required IReadOnlyList<(string Line, string Meaning)> Examples { get; init; }
}
