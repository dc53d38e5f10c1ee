using System.CommandLine;

namespace LunKit.App.CommandLine;

/// <summary>How a command is called.</summary>
internal static class CommandPath
{
    /// <summary><c>lunkit config check</c>; the program calls itself lunkit, whatever its file's name is.</summary>
    public static string Of(Command command) => command is RootCommand ? "lunkit" : $"{Of((Command)command.Parents.First())} {command.Name}";
}
