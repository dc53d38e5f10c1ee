using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace LunKit.App.CommandLine;

/// <summary>Options whose values are checked while the command line is read, with errors that name the option and what it takes.</summary>
internal static class Words
{
    private const string Levels = "Trace, Debug, Information, Warning, Error, Critical or None";

    /// <summary>An option that takes one of some words, whatever their case.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="meaning">What it does.</param>
    /// <param name="otherwise">The word where it is not given.</param>
    /// <param name="words">The words.</param>
    public static Option<string> OneOf(string name, string meaning, string otherwise, params string[] words) => new(name)
    {
        Description = meaning,
        HelpName = string.Join('|', words),
        DefaultValueFactory = _ => otherwise,
        CustomParser = result => words.FirstOrDefault(w => w.Equals(result.Tokens[0].Value, StringComparison.OrdinalIgnoreCase))
            ?? Wrong(result, otherwise, $"{name} '{result.Tokens[0].Value}' is not {string.Join(", ", words[..^1])} or {words[^1]}"),
    };

    /// <summary>An option that takes a whole number.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="meaning">What it does.</param>
    /// <param name="unit">What stands for the number in the help.</param>
    /// <param name="otherwise">The number where it is not given.</param>
    /// <param name="least">The least that it takes.</param>
    /// <param name="most">The most.</param>
    public static Option<int> Number(string name, string meaning, string unit, int otherwise, int least, int most = int.MaxValue) => new(name)
    {
        Description = meaning,
        HelpName = unit,
        DefaultValueFactory = _ => otherwise,
        CustomParser = result => int.TryParse(result.Tokens[0].Value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most ? number
            : Wrong(result, otherwise, $"{name} '{result.Tokens[0].Value}' is not a whole number {(most == int.MaxValue ? $"of {least} or more" : $"from {least} to {most}")}"),
    };

    /// <summary>Reads the values of an option that takes user ids.</summary>
    public static uint[] UserIds(ArgumentResult result) => [.. result.Tokens.Select(token =>
        uint.TryParse(token.Value, NumberStyles.None, CultureInfo.InvariantCulture, out uint number) ? number
            : Wrong(result, 0u, $"{(result.Parent as OptionResult)?.Option.Name} '{token.Value}' is not a number such as 1000 (id -u NAME shows it)"))];

    /// <summary><c>--log-level</c>.</summary>
    public static Option<LogLevel> Level(LogLevel otherwise) => new("--log-level")
    {
        Description = $"What is logged on standard error: this and what is worse; {Levels}",
        HelpName = "LEVEL",
        DefaultValueFactory = _ => otherwise,
        CustomParser = result =>
        {
            string word = result.Tokens[0].Value;
            if (word.Equals("info", StringComparison.OrdinalIgnoreCase)) return LogLevel.Information;
            // Enum.TryParse takes numbers too.
            return Enum.TryParse(word, ignoreCase: true, out LogLevel level) && char.IsAsciiLetter(word[0]) ? level
                : Wrong(result, otherwise, $"--log-level '{word}' is not {Levels}");
        },
    };

    /// <summary>What a library call says against its argument, without .NET's name for it.</summary>
    public static string Of(ArgumentException e) => e.Message.Split(" (Parameter '")[0];

    private static T Wrong<T>(ArgumentResult result, T otherwise, string message)
    {
        result.AddError(message);
        return otherwise;
    }
}
