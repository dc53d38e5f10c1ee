using System.CommandLine;
using LunKit.App.CommandLine;

namespace LunKit.App.Backstores;

/// <summary><c>lunkit backstores</c>: the kinds of backstores, their options, and an example of each.</summary>
internal static class BackstoresCommand
{
    public static Command Create()
    {
        var kind = new Argument<string?>("KIND") { Arity = ArgumentArity.ZeroOrOne, Description = "Only this kind, of backstores or of filters" };
        var command = new AppCommand("backstores", "Show what can be served: every kind of backstore and of filter, with its options and an example.", kind)
        {
            Examples = [("lunkit backstores", "all kinds"), ("lunkit backstores rbd", "one of them"), ("lunkit backstores fault", "one of the filters")],
        };
        command.SetAction(result => Run(Console.Out, result.GetValue(kind)));
        return command;
    }

    /// <summary>The kinds, a line each, for the help of commands that take one.</summary>
    /// <param name="withUnits">Those too that are units of their own, which only a target can serve.</param>
    public static string Overview(bool withUnits = true)
    {
        var rows = UnitKinds.All.Where(k => k.IsBytes || withUnits).Select(k => (k.Syntax, k.Summary));
        return "BACKSTORE:\n" + string.Join("\n", rows.Select(r => $"  {r.Syntax,-40}  {r.Summary}"));
    }

    public static int Run(TextWriter output, string? only)
    {
        bool Asked(string syntax) => only is null || syntax.Split(':')[0] == only;
        var bytes = BackstoreKinds.All.Where(k => Asked(k.Syntax)).Select(k => (k.Syntax, k.Summary, k.Example, k.Options)).ToList();
        var units = UnitKinds.All.Where(k => !k.IsBytes && Asked(k.Name)).Select(k => (k.Syntax, k.Summary, k.Example, k.Options)).ToList();
        var filters = FilterKinds.All.Where(f => only is null || f.Name == only).ToList();
        if (bytes.Count + units.Count + filters.Count == 0)
        {
            var known = UnitKinds.All.Select(k => k.Name).Concat(FilterKinds.All.Select(f => f.Name));
            throw new Serve.UserException($"there is no kind '{only}'; there are {string.Join(", ", known)}", 2);
        }
        foreach (var (syntax, summary, example, options) in bytes.Concat(units))
        {
            output.WriteLine($"{syntax}[,option...]");
            output.WriteLine($"  {summary}");
            WriteOptions(output, options);
            output.WriteLine($"  Example: lunkit serve {example}");
            output.WriteLine();
        }
        if (bytes.Count > 0)
        {
            output.WriteLine($"Options of {string.Join(", ", bytes.Select(k => k.Syntax.Split(':')[0]))}:");
            WriteOptions(output, BackstoreKinds.Common);
            output.WriteLine();
        }
        foreach (var filter in filters)
        {
            output.WriteLine($"filter={filter.Syntax}");
            output.WriteLine($"  {filter.Summary}");
            WriteOptions(output, filter.Options);
            output.WriteLine($"  Example: lunkit serve memory:1G,filter={filter.Example}");
            output.WriteLine();
        }
        if (filters.Count > 0) output.WriteLine("TIME: 5ms, 2s. A filter KIND:off does nothing.");
        output.WriteLine("SIZE: 512M, 10G, 1T (powers of 1024).");
        return 0;
    }

    private static void WriteOptions(TextWriter output, IReadOnlyList<BackstoreOption> options)
    {
        int width = options.Select(o => o.Syntax.Length).DefaultIfEmpty().Max();
        foreach (var option in options) output.WriteLine($"    {option.Syntax.PadRight(width)}  {option.Meaning}");
    }
}
