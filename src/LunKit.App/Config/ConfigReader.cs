using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace LunKit.App.Config;

/// <summary>
/// Reads YAML, or JSON, which is YAML, too, into nodes. What makes YAML surprising is refused: aliases, anchors, tags, two keys of one name, a second document.
/// Bounded: a file of <see cref="MostBytes"/>, and <see cref="MostDepth"/> levels.
/// </summary>
internal static class ConfigReader
{
    /// <summary>Characters of the largest file.</summary>
    public const int MostBytes = 16 << 20;

    /// <summary>Levels of lists and maps in each other.</summary>
    public const int MostDepth = 32;

    /// <summary>Reads a text; null when there is an error, which is in <paramref name="errors"/>.</summary>
    public static ConfigNode? Read(string text, ConfigErrors errors)
    {
        if (text.Length > MostBytes)
        {
            errors.Add(new(1, 1), $"the file is larger than {MostBytes >> 20} MiB");
            return null;
        }
        // It is an escape to nobody, and the parser says nothing of it.
        if (text.Contains('\0'))
        {
            errors.Add(PlaceOf(text, text.IndexOf('\0', StringComparison.Ordinal)), "there is a NUL character: this is not a text file");
            return null;
        }
        var parser = new Parser(new Scanner(new StringReader(text), skipComments: true));
        try
        {
            parser.Consume<StreamStart>();
            if (parser.TryConsume<StreamEnd>(out _)) return null;
            parser.Consume<DocumentStart>();
            var node = ReadNode(parser, 0);
            parser.Consume<DocumentEnd>();
            if (!parser.TryConsume<StreamEnd>(out _)) throw new ConfigException(Of(parser.Current!.Start), "a second document begins here; one file is one configuration");
            return node;
        }
        catch (ConfigException e)
        {
            errors.Add(e.Place, e.Message);
        }
        catch (YamlException e)
        {
            errors.Add(Of(e.Start), $"this is not YAML: {WithoutPlace(e.Message)}");
        }
        // The parser's own way to say that something is not closed, for one.
        catch (Exception e) when (e is InvalidOperationException or ArgumentException or IndexOutOfRangeException or FormatException or OverflowException or NullReferenceException)
        {
            errors.Add(parser.Current is { } last ? Of(last.Start) : new(1, 1), "this is not YAML: a bracket, a quotation mark or a block that begins here is not closed");
        }
        return null;
    }

    private static ConfigNode ReadNode(Parser parser, int depth)
    {
        if (depth > MostDepth) throw new ConfigException(Of(parser.Current!.Start), $"lists and maps stand in each other over more than {MostDepth} levels");
        if (parser.TryConsume<AnchorAlias>(out var alias)) throw new ConfigException(Of(alias.Start), $"aliases (*{alias.Value}) are not supported: write the value again");
        if (parser.Current is NodeEvent node) Refuse(node);
        if (parser.TryConsume<Scalar>(out var scalar)) return ScalarOf(scalar);
        var place = Of(parser.Current!.Start);
        if (parser.TryConsume<SequenceStart>(out _))
        {
            List<ConfigNode> items = [];
            while (!parser.TryConsume<SequenceEnd>(out _)) items.Add(ReadNode(parser, depth + 1));
            return new ConfigList(place, items);
        }
        parser.Consume<MappingStart>();
        List<(ConfigScalar, ConfigNode)> entries = [];
        Dictionary<string, ConfigPlace> seen = new(StringComparer.Ordinal);
        while (!parser.TryConsume<MappingEnd>(out _))
        {
            if (ReadNode(parser, depth + 1) is not ConfigScalar key) throw new ConfigException(place, "a key must be a word");
            if (!seen.TryAdd(key.Text, key.Place)) throw new ConfigException(key.Place, $"'{key.Text}' stands twice; the first is in line {seen[key.Text].Line}");
            entries.Add((key, ReadNode(parser, depth + 1)));
        }
        return new ConfigMap(place, entries);
    }

    private static void Refuse(NodeEvent node)
    {
        if (!node.Anchor.IsEmpty) throw new ConfigException(Of(node.Start), $"anchors (&{node.Anchor.Value}) are not supported: write the value where it is needed");
        if (!node.Tag.IsEmpty) throw new ConfigException(Of(node.Start), $"tags ({node.Tag.Value}) are not supported: write the value alone");
    }

    // No path and no name has one, and the system would stop reading there.
    private static ConfigScalar ScalarOf(Scalar scalar) => scalar.Value.Contains('\0') ? throw new ConfigException(Of(scalar.Start), "there is a NUL character in the text")
        : new(Of(scalar.Start), scalar.Value, scalar.Style is not ScalarStyle.Plain);

    private static ConfigPlace Of(Mark mark) => new((int)Math.Max(1, mark.Line), (int)Math.Max(1, mark.Column));

    private static ConfigPlace PlaceOf(string text, int index)
    {
        var before = text.AsSpan(0, index);
        return new(before.Count('\n') + 1, index - (before.LastIndexOf('\n') + 1) + 1);
    }

    // "(Line: 1, Col: 2, Idx: 3) - (...): message"
    private static string WithoutPlace(string message)
    {
        int end = message.LastIndexOf("): ", StringComparison.Ordinal);
        return end < 0 ? message : message[(end + 3)..];
    }
}
