using System.Security.Cryptography;
using System.Text;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LunKit.Mutants;

/// <summary>The build that contains all mutants of the target files: made, and made again without those that do not compile.</summary>
internal sealed class Schemata(string root, IReadOnlyList<string> files)
{
    private readonly string _excludedFile = Path.Combine(root, "artifacts/mutants/uncompilable.txt");
    private readonly Dictionary<string, string> _texts = [];

    public ScratchTree Tree { get; } = new(root, "tree");

    /// <summary>All mutants, by number from 1.</summary>
    public IReadOnlyList<Mutant> Mutants { get; private set; } = [];

    /// <summary>Finds the mutants without building.</summary>
    public void Find()
    {
        var excluded = File.Exists(_excludedFile) ? File.ReadAllLines(_excludedFile).ToHashSet() : [];
        List<Mutant> all = [];
        foreach (string file in files)
        {
            var (text, mutants) = new Mutator(file, excluded, all.Count + 1).Run(File.ReadAllText(Path.Combine(root, file)));
            _texts[file] = text;
            all.AddRange(mutants);
        }
        Mutants = all;
    }

    public async Task BuildAsync(Action<string> say)
    {
        for (int round = 1; ; round++)
        {
            await Tree.UpdateAsync();
            Find();
            foreach (var (file, text) in _texts) ScratchTree.Write(Tree.PathOf(file), Encoding.UTF8.GetBytes(text));
            using var resource = typeof(Schemata).Assembly.GetManifestResourceStream("MutantSwitch.cs")!;
            var bytes = new byte[resource.Length];
            resource.ReadExactly(bytes);
            ScratchTree.Write(Tree.PathOf("src/LunKit.Linux/MutantSwitch.cs"), bytes);
            // Their own projects first: a round costs less.
            var errors = await Tree.BuildAsync("src/LunKit.Iscsi");
            if (errors.Count == 0) errors = await Tree.BuildAsync("tests/LunKit.Tests");
            if (errors.Count == 0) return;
            var bad = errors.SelectMany(Causes).ToHashSet();
            say($"build {round}: {bad.Count} mutants do not compile and are left out");
            if (bad.Count == 0 || round > 30)
            {
                var lines = errors.Select(e => $"{e.File}({e.Line},{e.Column}): {e.Text}");
                throw new InvalidOperationException("errors that belong to no mutant:\n" + string.Join('\n', lines));
            }
            Directory.CreateDirectory(Path.GetDirectoryName(_excludedFile)!);
            File.AppendAllLines(_excludedFile, bad);
        }
    }

    /// <summary>
    /// The mutants that an error comes from: the innermost around it, else those of its statement (a constant of another type first), else
    /// of its member (the removed assignment of the variable that the error names first).
    /// </summary>
    private IEnumerable<string> Causes((string File, int Line, int Column, string Text) error)
    {
        if (!_texts.TryGetValue(error.File, out var text)) return [];
        var tree = CSharpSyntaxTree.ParseText(text, CSharpParseOptions.Default.WithLanguageVersion(LanguageVersion.Latest));
        int at = tree.GetText().Lines[error.Line - 1].Start + error.Column - 1;
        var token = tree.GetRoot().FindToken(at);
        string named = error.Text.Split('\'') is { Length: > 2 } parts ? parts[1] : "?";
        for (var node = token.Parent; node is not null and not TypeDeclarationSyntax; node = node.Parent)
        {
            var own = Own(node is ParenthesizedExpressionSyntax p ? p.Expression : node);
            if (own.Count > 0) return own.Select(n => Mutants[n - 1].Key);
            if (node is not (StatementSyntax or MemberDeclarationSyntax or ArrowExpressionClauseSyntax) || node is BlockSyntax) continue;
            var all = All(node).Select(n => Mutants[n - 1]).ToList();
            if (all.Count == 0) continue;
            var likely = all.Where(m => m.Change.StartsWith(named + " = ", StringComparison.Ordinal)).ToList();
            if (likely.Count == 0) likely = [.. all.Where(m => char.IsAsciiDigit(m.Change[0]))];
            return (likely.Count > 0 ? likely : all).Select(m => m.Key);
        }
        return [];
    }

    private static List<int> Own(Microsoft.CodeAnalysis.SyntaxNode node) => node switch
    {
        ConditionalExpressionSyntax c => Number(c.Condition),
        IfStatementSyntax { Condition: PrefixUnaryExpressionSyntax p } => Number(p.Operand),
        PrefixUnaryExpressionSyntax p => Number(p.Operand),
        BinaryExpressionSyntax b => Number(b.Right),
        _ => [],
    };

    private static List<int> Number(Microsoft.CodeAnalysis.SyntaxNode node) =>
        node is InvocationExpressionSyntax call && call.Expression.ToString() == Mutator.Switch
            ? [int.Parse(call.ArgumentList.Arguments[0].ToString())] : [];

    private static List<int> All(Microsoft.CodeAnalysis.SyntaxNode node) =>
        [.. node.DescendantNodes().OfType<InvocationExpressionSyntax>().SelectMany(Number)];

    /// <summary>Some mutants of each file: always the same for the same seed, whatever the others are.</summary>
    public IReadOnlyList<Mutant> Sample(int perFile, string seed) =>
    [
        .. Mutants.GroupBy(m => m.File).SelectMany(g => g.OrderBy(m => Hash(seed + m.Key), StringComparer.Ordinal).Take(perFile))
            .OrderBy(m => m.Number),
    ];

    private static string Hash(string text) => Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
