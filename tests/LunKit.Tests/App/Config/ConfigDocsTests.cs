using System.Text;
using System.Text.Json.Nodes;
using LunKit.App.Backstores;
using LunKit.App.Config;

namespace LunKit.Tests.App.Config;

/// <summary>The schema, the reference and the example say what the program does. LUNKIT_WRITE_DOCS=1 writes the first two.</summary>
public sealed class ConfigDocsTests
{
    private const string Begin = "fresh (LUNKIT_WRITE_DOCS=1 writes it) -->\n", End = "<!-- end -->\n";

    private static string Root
    {
        get
        {
            string folder = AppContext.BaseDirectory;
            while (!File.Exists(Path.Combine(folder, "LunKit.slnx"))) folder = Path.GetDirectoryName(folder)!;
            return folder;
        }
    }

    private static void Compare(string file, Func<string, string> fresh)
    {
        string path = Path.Combine(Root, file), text = File.Exists(path) ? File.ReadAllText(path) : "", wanted = fresh(text);
        if (Environment.GetEnvironmentVariable("LUNKIT_WRITE_DOCS") == "1") File.WriteAllText(path, wanted);
        else Assert.True(text == wanted, $"{file} is stale: run this test with LUNKIT_WRITE_DOCS=1, and look at the difference");
    }

    [Fact]
    public void TheSchemaIsFresh() => Compare("docs/lunkit.schema.json", _ => ConfigCommand.SchemaText);

    [Fact]
    public void TheReferenceIsFresh() => Compare("docs/configuration.md", text =>
    {
        int begin = text.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length;
        return text[..begin] + Reference() + text[text.IndexOf(End, begin, StringComparison.Ordinal)..];
    });

    private static string Reference()
    {
        var text = new StringBuilder();
        Section(text, "The file", ConfigShape.Root.Fields, "");
        text.Append("\n### units: NAME\n\nThe options have the names that they have on the command line ([backstores.md](backstores.md)). Every kind but `pscsi` and `user` takes\n");
        text.Append(string.Join(", ", BackstoreKinds.Common.Where(o => o.Name != "filter").Select(o => $"`{o.Name}`"))).Append(" and `filters`.\n\n| `kind` | Key | Options of its own |\n|---|---|---|\n");
        foreach (var kind in UnitKinds.All)
        {
            var own = UnitShape.Fields(kind.Name).Skip(2).Where(f => !kind.IsBytes || f.Name != UnitShape.FiltersKey && BackstoreKinds.Common.All(c => c.Name != f.Name));
            text.Append($"| `{kind.Name}` | `{kind.Key}`: {kind.Argument.Replace("|", "\\|", StringComparison.Ordinal)} | {string.Join(", ", own.Select(f => $"`{f.Name}`"))} |\n");
        }
        return text.ToString();
    }

    private static void Section(StringBuilder text, string title, IReadOnlyList<ConfigField> fields, string path)
    {
        text.Append($"{(text.Length > 0 ? "\n" : "")}### {title}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        foreach (var field in fields) text.Append($"| `{field.Name}` | {Cell(field.Value.Says)} | {Cell(field.Otherwise ?? "must be given")} | {Cell(field.Meaning)} |\n");
        foreach (var field in fields)
        {
            string name = $"{path}{field.Name}";
            switch (field.Value)
            {
                case MapShape map: Section(text, name, map.Fields, $"{name}: "); break;
                case NamedShape { Value: MapShape map } named: Section(text, $"{name}: {named.Key}", map.Fields, $"{name}: {named.Key}: "); break;
                case ListShape { Item: MapShape map }: Section(text, $"{name}, each", map.Fields, $"{name}: "); break;
                case ListShape { Item: EitherShape { Long: var map } }: Section(text, $"{name}, each", map.Fields, $"{name}: "); break;
            }
        }
    }

    private static string Cell(string text) => text.Replace("|", "\\|", StringComparison.Ordinal);

    /// <summary>The example serves nothing, and with its comments taken away it is a configuration.</summary>
    [Fact]
    public void TheExampleIsRight()
    {
        string text = File.ReadAllText(Path.Combine(Root, "packaging/lunkit.yaml"));
        var empty = ConfigFile.Parse(text);
        Assert.Empty(empty.Errors);
        Assert.Empty(empty.Config!.Units);
        var lines = text.Split('\n').Skip(4).Select(l => l.StartsWith("# ", StringComparison.Ordinal) && !char.IsUpper(l[2]) ? l[2..] : l.StartsWith("#   ", StringComparison.Ordinal) ? l[2..] : l);
        var full = ConfigFile.Parse(string.Join('\n', lines).Replace(": {}\n  ", ":\n  ", StringComparison.Ordinal));
        // Its secrets are not here.
        Assert.Equal(2, full.Errors.Count(e => e.Text.Contains("cannot be read", StringComparison.Ordinal)));
        Assert.DoesNotContain(full.Errors, e => !e.IsWarning && !e.Text.Contains("cannot be read", StringComparison.Ordinal));
    }

    /// <summary>What the documents show can be served.</summary>
    [Fact]
    public void TheDocumentsAreRight()
    {
        string text = File.ReadAllText(Path.Combine(Root, "docs/configuration.md"));
        var blocks = text.Split("```yaml\n").Skip(1).Select(b => b.Split("```")[0]).ToList();
        Assert.NotEmpty(blocks);
        foreach (string block in blocks) Assert.DoesNotContain(ConfigFile.Parse(block).Errors, e => !e.IsWarning && !e.Text.Contains("cannot be read", StringComparison.Ordinal));
    }

    /// <summary>Editors take what the program takes: every key has a type and a meaning, and nothing else is allowed.</summary>
    [Fact]
    public void TheSchemaIsStrict() => Check(ConfigShape.Schema(), "");

    private static void Check(JsonNode? node, string path)
    {
        if (node is JsonArray array)
        {
            foreach (var item in array) Check(item, path);
            return;
        }
        if (node is not JsonObject schema) return;
        if (schema["properties"] is JsonObject properties)
        {
            Assert.Equal("false", schema["additionalProperties"]!.ToJsonString());
            foreach (var (key, value) in properties)
            {
                Assert.True(value!["description"] is not null, $"{path}{key} has no description");
                Check(value, $"{path}{key}: ");
            }
        }
        foreach (string part in (string[])["items", "anyOf", "oneOf", "additionalProperties"]) Check(schema[part], path);
    }
}
