using System.CommandLine;
using System.CommandLine.Parsing;
using LunKit.App.Serve;

namespace LunKit.App.CommandLine;

/// <summary>Reads a command line; what is wrong with it is said in one line, with what it should be.</summary>
internal static class AppParser
{
    /// <summary>Reads the command line. Throws <see cref="UserException"/> with status 2 when it is wrong.</summary>
    public static ParseResult Parse(RootCommand root, IReadOnlyList<string> arguments)
    {
        // '@' begins an abstract socket's name here, not a file of arguments.
        var result = root.Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (result.Action is Help or { ClearsParseErrors: true }) return result;
        if (WhatIsWrong(result) is not { } wrong) return result;
        throw new UserException($"{wrong} ({CommandPath.Of(result.CommandResult.Command)} --help shows what there is)", 2);
    }

    private static string? WhatIsWrong(ParseResult result)
    {
        var command = result.CommandResult.Command;
        // What follows '--' is no option, whatever it looks like.
        bool isLiteral = result.Tokens.Any(t => t.Type == TokenType.DoubleDash);
        var given = result.CommandResult.Children.OfType<ArgumentResult>().SelectMany(a => a.Tokens).Select(t => t.Value);
        if (!isLiteral && result.UnmatchedTokens.Concat(given).FirstOrDefault(t => t.Length > 1 && t[0] == '-') is { } option)
            return $"there is no option '{option}'{Nearest.Hint(option.Split('=')[0], command.Options.Select(o => o.Name))}";
        if (result.UnmatchedTokens.Count > 0)
        {
            string word = result.UnmatchedTokens[0];
            return command.Subcommands.Count > 0 ? $"there is no command '{(command is RootCommand ? "" : $"{command.Name} ")}{word}'{Nearest.Hint(word, command.Subcommands.Select(c => c.Name))}"
                : $"'{word}' is an argument too many: {CommandPath.Of(command)} takes {(command.Arguments.Count == 0 ? "none" : command.Arguments[0].Name + " once")}";
        }
        return result.Errors.Count == 0 ? null : result.Errors[0].SymbolResult switch
        {
            ArgumentResult { Tokens.Count: 0, Argument.Name: var argument } => $"{CommandPath.Of(command)} needs a {argument}",
            OptionResult { Tokens.Count: 0, Option: var missing } => $"{missing.Name} needs {missing.HelpName} after it",
            _ => string.Join(' ', result.Errors[0].Message.Split('\n', StringSplitOptions.TrimEntries)).TrimEnd('.'),
        };
    }
}
