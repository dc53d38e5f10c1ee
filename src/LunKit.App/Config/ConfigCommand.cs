using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LunKit.App.CommandLine;

namespace LunKit.App.Config;

/// <summary><c>lunkit config</c>: looks at a configuration file without serving it.</summary>
internal static class ConfigCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create() => new AppCommand("config", "Check, show and compare configuration files.")
    {
        Details = "A configuration file is what `lunkit serve --config FILE` serves (docs/configuration.md); YAML or JSON.",
        Examples =
        [
            ("lunkit config check /etc/lunkit/lunkit.yaml", "all errors, with line and column"),
            ("lunkit config show /etc/lunkit/lunkit.yaml", "what is in force, with all defaults"),
            ("lunkit config diff /etc/lunkit/lunkit.yaml new.yaml", "what a reload would change"),
            ("lunkit config convert /etc/tgt/targets.conf", "from tgt, LIO or ceph-iscsi"),
            ("lunkit config schema", "the JSON Schema, for editors"),
        ],
        Subcommands = { Check(), Show(), Diff(), Convert.ConvertCommand.Create(), Schema() },
    };

    private static Argument<string> File(string name, string what) => new(name) { Description = what };

    private static Option<bool> Json() => new("--json") { Description = "Write JSON" };

    private static AppCommand Check()
    {
        var (file, json) = (File("FILE", "The configuration"), Json());
        var command = new AppCommand("check", "Say everything that is wrong with a configuration; exit status 2 when it cannot be served.", file, json)
        {
            Examples = [("lunkit config check lunkit.yaml", "nothing is opened or served")],
        };
        command.SetAction(result => Check(Console.Out, result.GetValue(file)!, result.GetValue(json)));
        return command;
    }

    /// <summary>Writes what is wrong; 0 when it can be served, else 2.</summary>
    public static int Check(TextWriter output, string file, bool json)
    {
        var result = ConfigFile.Read(file);
        if (json)
        {
            output.WriteLine(Text(new JsonObject
            {
                ["valid"] = result.Config is not null,
                ["findings"] = new JsonArray([.. result.Errors.Select(e => (JsonNode)new JsonObject
                {
                    ["file"] = file, ["line"] = e.Place.Line, ["column"] = e.Place.Column, ["severity"] = e.IsWarning ? "warning" : "error", ["text"] = e.Text,
                })]),
            }));
            return result.Config is null ? 2 : 0;
        }
        foreach (var error in result.Errors) output.WriteLine(ConfigErrors.Line(file, error));
        if (result.Config is { } config) output.WriteLine($"{file} can be served: {config.Units.Count} units, {config.Targets.Count} targets");
        return result.Config is null ? 2 : 0;
    }

    private static AppCommand Show()
    {
        var (file, json) = (File("FILE", "The configuration"), Json());
        var command = new AppCommand("show", "Show what a configuration puts in force: all defaults written out, secrets hidden.", file, json)
        {
            Examples = [("lunkit config show lunkit.yaml", "as YAML"), ("lunkit config show lunkit.yaml --json", "as JSON, for programs")],
        };
        command.SetAction(result =>
        {
            var document = ConfigDocument.Of(Read(result.GetValue(file)!));
            Console.Out.Write(result.GetValue(json) ? Text(document) + "\n" : YamlText.Of(document));
            return 0;
        });
        return command;
    }

    private static AppCommand Diff()
    {
        var (old, next, json) = (File("OLD", "The configuration that is served"), File("NEW", "The one to come"), Json());
        var command = new AppCommand("diff", "Show what a reload from one configuration to another changes, and when; exit status 1 when it would be refused.", old, next, json)
        {
            Examples = [("lunkit config diff /etc/lunkit/lunkit.yaml new.yaml", "before new.yaml takes its place")],
        };
        command.SetAction(result => Diff(Console.Out, Read(result.GetValue(old)!), Read(result.GetValue(next)!), result.GetValue(json)));
        return command;
    }

    /// <summary>Writes the differences; 0 when a reload would do them, else 1.</summary>
    public static int Diff(TextWriter output, LunKitConfig old, LunKitConfig next, bool json)
    {
        var changes = new ConfigDifference(old, next).Changes;
        bool isRefused = changes.Any(c => c.Effect == Effect.Refused);
        if (json)
        {
            output.WriteLine(Text(new JsonObject
            {
                ["refused"] = isRefused,
                ["changes"] = new JsonArray([.. changes.Select(c => (JsonNode)new JsonObject { ["effect"] = c.Effect.ToString().ToLowerInvariant(), ["what"] = c.What })]),
            }));
            return isRefused ? 1 : 0;
        }
        foreach (var change in changes) output.WriteLine($"{change.Effect.ToString().ToLowerInvariant(),-8} {change.What}");
        if (changes.Count == 0) output.WriteLine("no difference");
        if (isRefused) output.WriteLine("A reload would be refused, and change nothing.");
        return isRefused ? 1 : 0;
    }

    private static AppCommand Schema()
    {
        var command = new AppCommand("schema", "Write the JSON Schema of the configuration, from which editors complete.")
        {
            Examples = [("lunkit config schema", "into lunkit.schema.json; editors read it when lunkit.yaml begins with `# yaml-language-server: $schema=lunkit.schema.json`")],
        };
        command.SetAction(_ =>
        {
            Console.Out.Write(SchemaText);
            return 0;
        });
        return command;
    }

    /// <summary>The schema, as it is published.</summary>
    public static string SchemaText => Text(ConfigShape.Schema()) + "\n";

    private static LunKitConfig Read(string file) => ConfigFile.Read(file).Checked(file);

    private static string Text(JsonNode node) => node.ToJsonString(s_indented);
}
