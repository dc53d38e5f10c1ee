using System.Globalization;
using System.Text.Json.Nodes;
using LunKit.App.CommandLine;
using LunKit.App.Serve;

namespace LunKit.App.Config;

/// <summary>What may stand somewhere in the configuration: checks it, and says so to editors (JSON Schema, draft 2020-12) and to people.</summary>
internal abstract record Shape
{
    /// <summary>What stands there, in a word or two, for errors and for the documents.</summary>
    public abstract string Says { get; }

    /// <summary>Notes everything that is wrong with a node.</summary>
    public abstract void Check(ConfigNode node, ConfigErrors errors);

    /// <summary>The same as a schema.</summary>
    public abstract JsonObject Schema();

    /// <summary>The texts of a JSON array.</summary>
    protected static JsonArray ArrayOf(IEnumerable<string> texts) => [.. texts.Select(t => (JsonNode)t)];
}

/// <summary>A value that is one word.</summary>
internal abstract record ScalarShape : Shape
{
    public sealed override void Check(ConfigNode node, ConfigErrors errors)
    {
        if (node is not ConfigScalar scalar) errors.Add(node.Place, $"{Says} is expected here, and not a {(node is ConfigList ? "list" : "map")}");
        else if (scalar.IsEmpty) errors.Add(node.Place, $"nothing stands here; {Says} is expected");
        else if (WhyNot(scalar) is { } why) errors.Add(node.Place, why);
    }

    /// <summary>What is wrong with a value; null when nothing is.</summary>
    protected abstract string? WhyNot(ConfigScalar scalar);
}

/// <summary>A text.</summary>
/// <param name="What">What it is.</param>
/// <param name="WhyWrong">What is wrong with one; null: any is right.</param>
internal sealed record TextShape(string What, Func<string, string?>? WhyWrong = null) : ScalarShape
{
    public override string Says => What;
    protected override string? WhyNot(ConfigScalar scalar) => WhyWrong?.Invoke(scalar.Text);
    // A serial of digits is a text, too.
    public override JsonObject Schema() => new() { ["type"] = ArrayOf(["string", "number"]) };
}

/// <summary>A whole number.</summary>
internal sealed record NumberShape(long Least, long Most) : ScalarShape
{
    public override string Says => Most == long.MaxValue ? $"a whole number of {Least} or more" : $"a whole number from {Least} to {Most}";

    /// <summary>The number that a text says; null when it says none.</summary>
    public static long? Parse(string text) => long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) ? number : null;

    protected override string? WhyNot(ConfigScalar scalar) => Parse(scalar.Text) is { } number && number >= Least && number <= Most ? null : $"'{scalar.Text}' is not {Says}";

    public override JsonObject Schema()
    {
        var schema = new JsonObject { ["type"] = "integer", ["minimum"] = Least };
        if (Most != long.MaxValue) schema["maximum"] = Most;
        return schema;
    }
}

/// <summary>A number of bytes, as a number or as 512M, 10G.</summary>
internal sealed record SizeShape(long Least = 1, long Most = long.MaxValue) : ScalarShape
{
    public override string Says => "a size such as 512M or 10G";

    protected override string? WhyNot(ConfigScalar scalar) => !ByteSize.TryParse(scalar.Text, out long bytes) ? $"'{scalar.Text}' is not {Says}"
        : bytes < Least || bytes > Most ? $"{scalar.Text} is not {ByteSize.Format(Least)} to {ByteSize.Format(Most)}" : null;

    public override JsonObject Schema() => new() { ["type"] = ArrayOf(["string", "integer"]) };
}

/// <summary>Yes or no.</summary>
internal sealed record FlagShape : ScalarShape
{
    public override string Says => "true or false";

    /// <summary>What a text says; null when it is neither.</summary>
    public static bool? Parse(string text) => text.ToLowerInvariant() switch { "true" or "on" or "yes" => true, "false" or "off" or "no" => false, _ => null };

    protected override string? WhyNot(ConfigScalar scalar) => Parse(scalar.Text) is null ? $"'{scalar.Text}' is not {Says}" : null;

    public override JsonObject Schema() => new() { ["type"] = ArrayOf(["boolean", "string"]), ["enum"] = new JsonArray(true, false, "on", "off", "yes", "no", "true", "false") };
}

/// <summary>One of some words.</summary>
internal sealed record WordShape(IReadOnlyList<string> Known) : ScalarShape
{
    public override string Says => string.Join(", ", Known.SkipLast(1)) + " or " + Known[^1];

    protected override string? WhyNot(ConfigScalar scalar) =>
        Known.Contains(scalar.Text, StringComparer.Ordinal) ? null : $"'{scalar.Text}' is not {Says}{Nearest.Hint(scalar.Text, Known)}";

    public override JsonObject Schema() => new() { ["enum"] = ArrayOf(Known) };
}

/// <summary>A list.</summary>
/// <param name="Item">What each is.</param>
/// <param name="Least">The least number of them.</param>
/// <param name="Most">The most.</param>
internal sealed record ListShape(Shape Item, int Least = 0, int Most = int.MaxValue) : Shape
{
    public override string Says => $"a list, each {Item.Says}";

    public override void Check(ConfigNode node, ConfigErrors errors)
    {
        if (node is not ConfigList list)
        {
            errors.Add(node.Place, $"a list is expected here: a line '- ...' for each, or [ ... ]; each is {Item.Says}");
            return;
        }
        if (list.Items.Count < Least) errors.Add(node.Place, "the list is empty");
        if (list.Items.Count > Most) errors.Add(list.Items[Most].Place, $"the list has {list.Items.Count} items; {Most} are possible");
        foreach (var item in list.Items) Item.Check(item, errors);
    }

    public override JsonObject Schema()
    {
        var schema = new JsonObject { ["type"] = "array", ["items"] = Item.Schema() };
        if (Least > 0) schema["minItems"] = Least;
        if (Most != int.MaxValue) schema["maxItems"] = Most;
        return schema;
    }
}

/// <summary>A value, or a map that says more.</summary>
internal sealed record EitherShape(ScalarShape Short, MapShape Long) : Shape
{
    public override string Says => $"{Short.Says}, or a map";
    public override void Check(ConfigNode node, ConfigErrors errors) => (node is ConfigMap ? (Shape)Long : Short).Check(node, errors);
    public override JsonObject Schema() => new() { ["anyOf"] = new JsonArray(Short.Schema(), Long.Schema()) };
}

/// <summary>A map whose keys are names that the operator chooses.</summary>
/// <param name="Key">What they are, for the documents: NAME.</param>
/// <param name="WhyWrong">What is wrong with one; null when nothing is.</param>
/// <param name="Value">What stands behind each.</param>
internal sealed record NamedShape(string Key, Func<string, string?> WhyWrong, Shape Value) : Shape
{
    public override string Says => $"a map of {Key}: {Value.Says}";

    public override void Check(ConfigNode node, ConfigErrors errors)
    {
        // All entries are commented out.
        if (node is ConfigScalar { IsEmpty: true }) return;
        if (node is not ConfigMap map)
        {
            errors.Add(node.Place, $"a map is expected here: {Key}, a colon, and {Value.Says}");
            return;
        }
        foreach (var (key, value) in map.Entries)
        {
            if (WhyWrong(key.Text) is { } why) errors.Add(key.Place, why);
            Value.Check(value, errors);
        }
    }

    public override JsonObject Schema() => new() { ["type"] = ArrayOf(["object", "null"]), ["additionalProperties"] = Value.Schema() };
}
