using System.CommandLine;

namespace LunKit.App.Backstores;

/// <summary><c>lunkit backstores</c>: the kinds of backstores, their options, and an example of each.</summary>
internal static class BackstoresCommand
{
    private const string Details = """
        Show what can be served: every kind of backstore with its options and an example.

        Examples:
          lunkit backstores          all kinds
          lunkit backstores rbd      one
        """;

    public static Command Create()
    {
        var kind = new Argument<string?>("KIND") { Arity = ArgumentArity.ZeroOrOne, Description = "Only this kind" };
        var command = new Command("backstores", Details) { kind };
        command.SetAction(result => Run(Console.Out, result.GetValue(kind)));
        return command;
    }

    public static int Run(TextWriter output, string? only)
    {
        var kinds = only is null ? BackstoreKinds.All : BackstoreKinds.Find(only) is { } found ? [found]
            : throw new Serve.UserException($"there is no kind '{only}'; there are {string.Join(", ", BackstoreKinds.All.Select(k => k.Name))}", 2);
        foreach (var kind in kinds)
        {
            output.WriteLine($"{kind.Syntax}[,option...]");
            output.WriteLine($"  {kind.Summary}");
            WriteOptions(output, kind.Options);
            output.WriteLine($"  Example: lunkit serve {kind.Example}");
            output.WriteLine();
        }
        if (only is null)
        {
            foreach (var (syntax, summary, example) in BackstoreKinds.Units)
            {
                output.WriteLine(syntax);
                output.WriteLine($"  {summary}");
                output.WriteLine($"  Example: lunkit serve {example}");
                output.WriteLine();
            }
        }
        output.WriteLine("Options of every kind of bytes:");
        WriteOptions(output, BackstoreKinds.Common);
        output.WriteLine();
        output.WriteLine("SIZE: 512M, 10G, 1T (powers of 1024).");
        return 0;
    }

    private static void WriteOptions(TextWriter output, IReadOnlyList<BackstoreOption> options)
    {
        int width = options.Select(o => o.Syntax.Length).DefaultIfEmpty().Max();
        foreach (var option in options) output.WriteLine($"    {option.Syntax.PadRight(width)}  {option.Meaning}");
    }
}
