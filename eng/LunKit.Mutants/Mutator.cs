using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using static Microsoft.CodeAnalysis.CSharp.SyntaxFactory;

namespace LunKit.Mutants;

/// <summary>
/// Rewrites a source file so that it contains all its mutants, each behind a switch: <c>MutantSwitch.Is(n) ? mutated : original</c>.
/// One build serves all of them. The mutated side is made of the original text, without the mutants inside it, so that the file does
/// not grow without bound.
/// </summary>
/// <param name="file">Path in the repository.</param>
/// <param name="excluded">Keys of mutants that do not compile.</param>
/// <param name="first">The number of the first mutant.</param>
internal sealed class Mutator(string file, IReadOnlySet<string> excluded, int first) : CSharpSyntaxRewriter
{
    public const string Switch = "global::LunKit.Linux.MutantSwitch.Is";

    private static readonly Dictionary<SyntaxKind, (SyntaxKind Kind, SyntaxKind Token)> s_binary = new()
    {
        [SyntaxKind.LessThanExpression] = (SyntaxKind.LessThanOrEqualExpression, SyntaxKind.LessThanEqualsToken),
        [SyntaxKind.LessThanOrEqualExpression] = (SyntaxKind.LessThanExpression, SyntaxKind.LessThanToken),
        [SyntaxKind.GreaterThanExpression] = (SyntaxKind.GreaterThanOrEqualExpression, SyntaxKind.GreaterThanEqualsToken),
        [SyntaxKind.GreaterThanOrEqualExpression] = (SyntaxKind.GreaterThanExpression, SyntaxKind.GreaterThanToken),
        [SyntaxKind.EqualsExpression] = (SyntaxKind.NotEqualsExpression, SyntaxKind.ExclamationEqualsToken),
        [SyntaxKind.NotEqualsExpression] = (SyntaxKind.EqualsExpression, SyntaxKind.EqualsEqualsToken),
        [SyntaxKind.LogicalAndExpression] = (SyntaxKind.LogicalOrExpression, SyntaxKind.BarBarToken),
        [SyntaxKind.LogicalOrExpression] = (SyntaxKind.LogicalAndExpression, SyntaxKind.AmpersandAmpersandToken),
        [SyntaxKind.AddExpression] = (SyntaxKind.SubtractExpression, SyntaxKind.MinusToken),
        [SyntaxKind.SubtractExpression] = (SyntaxKind.AddExpression, SyntaxKind.PlusToken),
        [SyntaxKind.BitwiseAndExpression] = (SyntaxKind.BitwiseOrExpression, SyntaxKind.BarToken),
        [SyntaxKind.BitwiseOrExpression] = (SyntaxKind.BitwiseAndExpression, SyntaxKind.AmpersandToken),
    };

    private static readonly Dictionary<string, string> s_calls = new()
    {
        ["Min"] = "Max", ["Max"] = "Min", ["Any"] = "All", ["All"] = "Any",
    };

    private readonly List<Mutant> _mutants = [];
    private readonly Dictionary<string, int> _seen = [];

    /// <summary>Rewrites <paramref name="text"/>; the mutants in it, in order.</summary>
    public (string Text, IReadOnlyList<Mutant> Mutants) Run(string text)
    {
        var root = CSharpSyntaxTree.ParseText(text, CSharpParseOptions.Default.WithLanguageVersion(LanguageVersion.Latest)).GetRoot();
        return (Visit(root).ToFullString(), _mutants);
    }

    // Where a switch cannot stand, or changes nothing that a program can see.
    public override SyntaxNode? VisitAttributeList(AttributeListSyntax node) => node;
    public override SyntaxNode? VisitParameter(ParameterSyntax node) => node;
    public override SyntaxNode? VisitEnumDeclaration(EnumDeclarationSyntax node) => node;
    public override SyntaxNode? VisitCaseSwitchLabel(CaseSwitchLabelSyntax node) => node;
    public override SyntaxNode? VisitConstantPattern(ConstantPatternSyntax node) => node;
    public override SyntaxNode? VisitRelationalPattern(RelationalPatternSyntax node) => node;
    public override SyntaxNode? VisitThrowStatement(ThrowStatementSyntax node) => node;
    public override SyntaxNode? VisitThrowExpression(ThrowExpressionSyntax node) => node;
    public override SyntaxNode? VisitInterpolatedStringExpression(InterpolatedStringExpressionSyntax node) => node;

    public override SyntaxNode? VisitFieldDeclaration(FieldDeclarationSyntax node) =>
        node.Modifiers.Any(SyntaxKind.ConstKeyword) ? node : base.VisitFieldDeclaration(node);

    public override SyntaxNode? VisitLocalDeclarationStatement(LocalDeclarationStatementSyntax node) =>
        node.IsConst ? node : base.VisitLocalDeclarationStatement(node);

    public override SyntaxNode? VisitMethodDeclaration(MethodDeclarationSyntax node) =>
        node.Identifier.Text is "ToString" or "Describe" ? node : base.VisitMethodDeclaration(node);

    public override SyntaxNode? VisitBinaryExpression(BinaryExpressionSyntax node)
    {
        var visited = (BinaryExpressionSyntax)base.VisitBinaryExpression(node)!;
        if (Declares(node)) return visited;
        if (node.IsKind(SyntaxKind.CoalesceExpression)) return Choose(node, visited, node.Right);
        if (!s_binary.TryGetValue(node.Kind(), out var other) || IsText(node)) return visited;
        var token = Token(other.Token).WithTriviaFrom(node.OperatorToken);
        return Choose(node, visited, BinaryExpression(other.Kind, node.Left, token, node.Right));
    }

    public override SyntaxNode? VisitIsPatternExpression(IsPatternExpressionSyntax node)
    {
        var visited = (IsPatternExpressionSyntax)base.VisitIsPatternExpression(node)!;
        return Declares(node) ? visited : Flip(node, visited);
    }

    public override SyntaxNode? VisitLiteralExpression(LiteralExpressionSyntax node)
    {
        if (node.IsKind(SyntaxKind.TrueLiteralExpression))
        {
            return !IsLoop(node) && Put(node, "true -> false") is { } off
                ? ParseExpression($"(!{Switch}({off}))").WithTriviaFrom(node) : node;
        }
        if (node.IsKind(SyntaxKind.FalseLiteralExpression))
            return Put(node, "false -> true") is { } on ? ParseExpression($"({Switch}({on}))").WithTriviaFrom(node) : node;
        if (!node.IsKind(SyntaxKind.NumericLiteralExpression) || node.Token.Value is not int value) return node;
        int changed = value == 0 ? 1 : (node.SpanStart & 1) == 0 ? value - 1 : value + 1;
        return Put(node, $"{node} -> {changed}") is { } number
            ? ParseExpression($"({Switch}({number}) ? {changed} : {node})").WithTriviaFrom(node) : node;
    }

    public override SyntaxNode? VisitInvocationExpression(InvocationExpressionSyntax node)
    {
        if (node.Expression.ToString() == "nameof" || IsUnseen(node)) return node;
        // What is awaited, and not how.
        if (node.Expression is MemberAccessExpressionSyntax { Name.Identifier.Text: "ConfigureAwait" } wait)
            return node.WithExpression(wait.WithExpression((ExpressionSyntax)Visit(wait.Expression)));
        var visited = (InvocationExpressionSyntax)base.VisitInvocationExpression(node)!;
        if (node.Expression is not MemberAccessExpressionSyntax { Name: IdentifierNameSyntax name } access || Declares(node))
            return visited;
        return s_calls.TryGetValue(name.Identifier.Text, out var other)
            ? Choose(node, visited, node.WithExpression(access.WithName(IdentifierName(other))))
            : visited;
    }

    public override SyntaxNode? VisitConditionalExpression(ConditionalExpressionSyntax node)
    {
        var visited = (ConditionalExpressionSyntax)base.VisitConditionalExpression(node)!;
        return CanNegate(node.Condition) ? visited.WithCondition(Flip(node.Condition, visited.Condition)) : visited;
    }

    public override SyntaxNode? VisitIfStatement(IfStatementSyntax node)
    {
        var visited = (IfStatementSyntax)base.VisitIfStatement(node)!;
        return CanNegate(node.Condition) ? visited.WithCondition(Flip(node.Condition, visited.Condition)) : visited;
    }

    public override SyntaxNode? VisitWhileStatement(WhileStatementSyntax node)
    {
        var visited = (WhileStatementSyntax)base.VisitWhileStatement(node)!;
        return CanNegate(node.Condition) ? visited.WithCondition(Flip(node.Condition, visited.Condition)) : visited;
    }

    public override SyntaxNode? VisitReturnStatement(ReturnStatementSyntax node)
    {
        var visited = (ReturnStatementSyntax)base.VisitReturnStatement(node)!;
        return node.Expression is { } value && ReturnsBool(node) && CanNegate(value) && value is not LiteralExpressionSyntax
            ? visited.WithExpression(Flip(value, visited.Expression!).WithLeadingTrivia(Space)) : visited;
    }

    public override SyntaxNode? VisitArrowExpressionClause(ArrowExpressionClauseSyntax node)
    {
        var visited = (ArrowExpressionClauseSyntax)base.VisitArrowExpressionClause(node)!;
        return ReturnsBool(node) && CanNegate(node.Expression) && node.Expression is not LiteralExpressionSyntax
            ? visited.WithExpression(Flip(node.Expression, visited.Expression)) : visited;
    }

    public override SyntaxNode? VisitContinueStatement(ContinueStatementSyntax node) => Remove(node, node);

    public override SyntaxNode? VisitBreakStatement(BreakStatementSyntax node) =>
        node.Parent is SwitchSectionSyntax ? node : Remove(node, node);

    public override SyntaxNode? VisitExpressionStatement(ExpressionStatementSyntax node)
    {
        if (IsUnseen(node.Expression)) return node;
        var visited = (ExpressionStatementSyntax)base.VisitExpressionStatement(node)!;
        return Declares(node) || IsOnlyAssignment(node) ? visited : Remove(node, visited);
    }

    /// <summary>Whether a variable or an out parameter may have no value without the statement.</summary>
    private static bool IsOnlyAssignment(ExpressionStatementSyntax node)
    {
        if (node.Expression is not AssignmentExpressionSyntax { Left: IdentifierNameSyntax left }) return false;
        if (node.Ancestors().OfType<MemberDeclarationSyntax>().FirstOrDefault() is not { } member) return false;
        string name = left.Identifier.Text;
        return member.DescendantNodes().Any(n => n switch
        {
            VariableDeclaratorSyntax { Initializer: null } v => v.Identifier.Text == name,
            ParameterSyntax p => p.Identifier.Text == name && p.Modifiers.Any(SyntaxKind.OutKeyword),
            _ => false,
        });
    }

    private StatementSyntax Remove(StatementSyntax node, StatementSyntax visited) => Put(node, $"{OneLine(node)} -> nothing") is { } number
        ? ParseStatement($"{{ if (!{Switch}({number})) {visited.WithoutTrivia().ToFullString()} }}").WithTriviaFrom(node) : visited;

    /// <summary>The switch between the visited node and a mutated one.</summary>
    private ExpressionSyntax Choose(ExpressionSyntax node, ExpressionSyntax visited, ExpressionSyntax mutated) =>
        Put(node, $"{OneLine(node)} -> {OneLine(mutated)}") is { } number
            ? ParseExpression($"({Switch}({number}) ? ({Bare(mutated)}) : ({Bare(visited)}))").WithTriviaFrom(node)
            : visited;

    private ExpressionSyntax Flip(ExpressionSyntax node, ExpressionSyntax visited) => Put(node, $"{OneLine(node)} -> not so") is { } number
        ? ParseExpression($"(({Bare(visited)}) ^ {Switch}({number}))").WithTriviaFrom(node) : visited;

    private static string Bare(SyntaxNode node) => node.WithoutTrivia().ToFullString();

    /// <summary>What it changes no test can see, nor need it.</summary>
    private static bool IsUnseen(ExpressionSyntax node) =>
        new[] { "LogMessages.", "GC." }.Any(s => node.ToString().StartsWith(s, StringComparison.Ordinal));

    /// <summary>Counts a mutant; its number, or null when it is excluded.</summary>
    private int? Put(SyntaxNode node, string change)
    {
        string member = node.Ancestors().OfType<MemberDeclarationSyntax>().FirstOrDefault() switch
        {
            MethodDeclarationSyntax m => m.Identifier.Text,
            ConstructorDeclarationSyntax c => c.Identifier.Text,
            PropertyDeclarationSyntax p => p.Identifier.Text,
            FieldDeclarationSyntax f => f.Declaration.Variables[0].Identifier.Text,
            _ => "",
        };
        string name = $"{member}|{change}";
        int occurrence = _seen.GetValueOrDefault(name);
        _seen[name] = occurrence + 1;
        var mutant = new Mutant(file, node.GetLocation().GetLineSpan().StartLinePosition.Line + 1, member, change, occurrence);
        if (excluded.Contains(mutant.Key)) return null;
        mutant.Number = first + _mutants.Count;
        _mutants.Add(mutant);
        return mutant.Number;
    }

    // A condition that is a comparison is turned round by the comparison's own mutant.
    private static bool CanNegate(ExpressionSyntax condition) =>
        !Declares(condition) && condition is not (IsPatternExpressionSyntax or LiteralExpressionSyntax) &&
        !condition.IsKind(SyntaxKind.EqualsExpression) && !condition.IsKind(SyntaxKind.NotEqualsExpression);

    private static bool Declares(SyntaxNode node) => node.DescendantNodesAndSelf().Any(n => n is SingleVariableDesignationSyntax);

    private static bool IsLoop(SyntaxNode literal) =>
        literal.Parent is WhileStatementSyntax or DoStatementSyntax or ForStatementSyntax;

    private static bool IsText(BinaryExpressionSyntax node) => node.IsKind(SyntaxKind.AddExpression) && node.DescendantNodes().Any(n =>
        n.IsKind(SyntaxKind.StringLiteralExpression) || n is InterpolatedStringExpressionSyntax);

    private static bool ReturnsBool(SyntaxNode node)
    {
        foreach (var ancestor in node.Ancestors())
        {
            switch (ancestor)
            {
                case AnonymousFunctionExpressionSyntax: return false;
                case LocalFunctionStatementSyntax local: return local.ReturnType.ToString() == "bool";
                case MethodDeclarationSyntax method: return method.ReturnType.ToString() == "bool";
                case PropertyDeclarationSyntax property: return property.Type.ToString() == "bool";
                case AccessorDeclarationSyntax: continue;
                case MemberDeclarationSyntax: return false;
            }
        }
        return false;
    }

    private static string OneLine(SyntaxNode node)
    {
        string text = string.Join(' ', node.ToString().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return text.Length <= 120 ? text : text[..117] + "...";
    }
}
