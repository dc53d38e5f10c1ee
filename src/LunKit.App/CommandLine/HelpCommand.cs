using System.CommandLine;
using LunKit.App.Serve;

namespace LunKit.App.CommandLine;

/// <summary><c>lunkit help</c>: the same as <c>--help</c>, for those who look for it there.</summary>
internal static class HelpCommand
{
    public static Command Create(RootCommand root)
    {
        var name = new Argument<string?>("COMMAND") { Arity = ArgumentArity.ZeroOrOne, Description = "The command" };
        var command = new AppCommand("help", "Show what lunkit can do, or the options and examples of a command.")
        {
            Examples = [("lunkit help", "all commands"), ("lunkit help serve", "one of them")],
        };
        command.Arguments.Add(name);
        command.SetAction(result =>
        {
            Help.Write(Console.Out, result.GetValue(name) is { } asked ? Find(root, asked) : root, Help.Columns());
            return 0;
        });
        return command;
    }

    private static Command Find(RootCommand root, string name) =>
        root.Subcommands.FirstOrDefault(c => c.Name == name) ?? throw new UserException($"there is no command '{name}'{Nearest.Hint(name, root.Subcommands.Select(c => c.Name))} (lunkit --help lists them)", 2);
}
