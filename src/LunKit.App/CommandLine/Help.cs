using System.CommandLine;
using System.CommandLine.Invocation;
using System.Globalization;

namespace LunKit.App.CommandLine;

/// <summary>The help of <c>lunkit</c> and of its commands: what it does, how it is written, options, examples that can be copied.</summary>
internal sealed class Help : SynchronousCommandLineAction
{
    private const int NarrowestColumns = 60, WidestColumns = 120, LongestHead = 32;

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        Write(Console.Out, parseResult.CommandResult.Command, Columns());
        return 0;
    }

    /// <summary>Writes the help of a command.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="command">The command; the root for that of all.</param>
    /// <param name="columns">Characters of a line.</param>
    public static void Write(TextWriter output, Command command, int columns)
    {
        foreach (string line in Wrap(command.Description ?? "", columns)) output.WriteLine(line);
        output.WriteLine();
        output.WriteLine($"Usage: {UsageOf(command)}");
        if (command is AppCommand { Details.Length: > 0 } app)
        {
            output.WriteLine();
            output.WriteLine(app.Details);
        }
        Section(output, "Commands", [.. command.Subcommands.Select(c => (c.Name, c.Description ?? ""))], columns);
        Section(output, "Arguments", [.. command.Arguments.Where(a => !a.Hidden).Select(a => (a.Name, a.Description ?? ""))], columns);
        Section(output, "Options", [.. command.Options.Where(o => !o.Hidden).Select(o => (HeadOf(o), o.Description + DefaultOf(o)))], columns);
        if (command is AppCommand { Examples: var examples }) Section(output, "Examples", examples, columns);
        if (command.Subcommands.Count == 0) return;
        output.WriteLine();
        output.WriteLine($"{CommandPath.Of(command)} COMMAND --help shows the options and examples of a command.");
    }

    private static string UsageOf(Command command)
    {
        if (command is RootCommand) return "lunkit COMMAND [OPTIONS]";
        string arguments = string.Concat(command.Arguments.Where(a => !a.Hidden).Select(a => (a.Arity.MinimumNumberOfValues, a.Arity.MaximumNumberOfValues) switch
        {
            (0, 1) => $" [{a.Name}]",
            (0, _) => $" [{a.Name}...]",
            (_, 1) => $" {a.Name}",
            _ => $" {a.Name}...",
        }));
        return $"{CommandPath.Of(command)}{arguments}{(command.Subcommands.Count > 0 ? " COMMAND" : "")} [OPTIONS]";
    }

    private static string HeadOf(Option option)
    {
        string names = string.Join(", ", option.Aliases.Where(a => a is not ("/?" or "/h" or "-?")).Append(option.Name).Order(StringComparer.Ordinal));
        return option.HelpName is { } value ? $"{names} {value}" : names;
    }

    private static string DefaultOf(Option option) => option.HasDefaultValue && option.ValueType != typeof(bool) && option.GetDefaultValue() is { } value
        ? string.Create(CultureInfo.InvariantCulture, $" (default: {value})") : "";

    private static void Section(TextWriter output, string title, IReadOnlyList<(string Head, string Text)> rows, int columns)
    {
        if (rows.Count == 0) return;
        output.WriteLine();
        output.WriteLine($"{title}:");
        // A head that is longer than most has its text below it.
        int width = rows.Select(r => r.Head.Length).Where(l => l <= LongestHead || title == "Examples").DefaultIfEmpty().Max();
        if (width > columns / 2) width = columns / 2;
        foreach (var (head, text) in rows)
        {
            var lines = Wrap(text, columns - width - 4);
            bool fits = head.Length <= width;
            output.WriteLine($"  {(fits ? head.PadRight(width) : head)}{(fits && lines.Count > 0 ? "  " + lines[0] : "")}".TrimEnd());
            foreach (string line in lines.Skip(fits ? 1 : 0)) output.WriteLine(new string(' ', width + 4) + line);
        }
    }

    /// <summary>Breaks a text at its spaces into lines.</summary>
    private static List<string> Wrap(string text, int columns)
    {
        var lines = new List<string>();
        foreach (string word in text.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (lines.Count > 0 && lines[^1].Length + 1 + word.Length <= columns) lines[^1] += " " + word;
            else lines.Add(word);
        }
        return lines;
    }

    /// <summary>The width of the terminal, within what can be read well.</summary>
    public static int Columns()
    {
        if (Console.IsOutputRedirected) return WidestColumns;
        try
        {
            return Math.Clamp(Console.WindowWidth - 1, NarrowestColumns, WidestColumns);
        }
        catch (IOException)
        {
            return WidestColumns;
        }
    }
}
