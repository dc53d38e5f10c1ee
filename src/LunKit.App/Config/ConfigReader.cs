using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace LunKit.App.Config;

/// <summary>
/// Reads YAML, or JSON, which is YAML, too, into nodes. What makes YAML surprising is refused: aliases, anchors, tags, two keys of one name, a second document.
/// Bounded: a file of <see cref="MostBytes"/>, <see cref="MostNodes"/> values and <see cref="MostDepth"/> levels. No message quotes a value: it may be a secret.
/// </summary>
internal sealed class ConfigReader
{
    /// <summary>Characters of the largest file.</summary>
    public const int MostBytes = 16 << 20;

    /// <summary>Levels of lists and maps in each other.</summary>
    public const int MostDepth = 32;

    /// <summary>Keys, values, lists and maps of the largest file: some ten thousand units have a tenth of them.</summary>
    public const int MostNodes = 1_000_000;

    private readonly Parser _parser;

    // Brackets and braces that are open, and where: the parser does not tell which of them nobody closes.
    private readonly Stack<ConfigPlace> _open = new();
    private int _nodes;

    private ConfigReader(string text) => _parser = new Parser(new Scanner(new StringReader(text), skipComments: true));

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
        var reader = new ConfigReader(text);
        try
        {
            return reader.Read();
        }
        catch (ConfigException e)
        {
            errors.Add(e.Place, e.Message);
        }
        // At the end of the text the parser names the end, which says nothing.
        catch (YamlException e) when (reader._open.Count == 0 || e.Start.Index < text.AsSpan().TrimEnd().Length)
        {
            errors.Add(Of(e.Start), $"this is not YAML: {WithoutPlace(e.Message)}");
        }
        // Another way of the parser to say that something is not closed, and whatever else it throws: a file never ends the program.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            var place = reader._open.TryPeek(out var open) ? open : reader._parser.Current is { } last ? Of(last.Start) : new(1, 1);
            errors.Add(place, "this is not YAML: a bracket, a quotation mark or a block that begins here is not closed");
        }
        return null;
    }

    private ConfigNode? Read()
    {
        _parser.Consume<StreamStart>();
        if (_parser.TryConsume<StreamEnd>(out _)) return null;
        _parser.Consume<DocumentStart>();
        var node = ReadNode(0);
        _parser.Consume<DocumentEnd>();
        return _parser.TryConsume<StreamEnd>(out _) ? node : throw new ConfigException(Of(_parser.Current!.Start), "a second document begins here; one file is one configuration");
    }

    private ConfigNode ReadNode(int depth)
    {
        if (_parser.Accept<AnchorAlias>(out var alias)) throw new ConfigException(Of(alias.Start), "aliases (*) are not supported: write the value again; quote a text that begins with '*'");
        if (depth > MostDepth) throw new ConfigException(Of(_parser.Current!.Start), $"lists and maps stand in each other over more than {MostDepth} levels");
        if (++_nodes > MostNodes) throw new ConfigException(Of(_parser.Current!.Start), $"the file has more than {MostNodes} keys and values: it is no configuration");
        if (_parser.Current is NodeEvent node) Refuse(node);
        if (_parser.TryConsume<Scalar>(out var scalar)) return ScalarOf(scalar);
        var place = Of(_parser.Current!.Start);
        bool isFlow = _parser.Current is SequenceStart { Style: SequenceStyle.Flow } or MappingStart { Style: MappingStyle.Flow };
        if (isFlow) _open.Push(place);
        ConfigNode read = _parser.TryConsume<SequenceStart>(out _) ? ReadItems(place, depth) : ReadEntries(place, depth);
        if (isFlow) _open.Pop();
        return read;
    }

    private ConfigList ReadItems(ConfigPlace place, int depth)
    {
        List<ConfigNode> items = [];
        while (!_parser.TryConsume<SequenceEnd>(out _)) items.Add(ReadNode(depth + 1));
        return new ConfigList(place, items);
    }

    private ConfigMap ReadEntries(ConfigPlace place, int depth)
    {
        _parser.Consume<MappingStart>();
        List<(ConfigScalar, ConfigNode)> entries = [];
        Dictionary<string, ConfigPlace> seen = new(StringComparer.Ordinal);
        while (!_parser.TryConsume<MappingEnd>(out _))
        {
            if (ReadNode(depth + 1) is not ConfigScalar key) throw new ConfigException(place, "a key must be a word");
            if (!seen.TryAdd(key.Text, key.Place)) throw new ConfigException(key.Place, $"'{key.Text}' stands twice; the first is in line {seen[key.Text].Line}");
            entries.Add((key, ReadNode(depth + 1)));
        }
        return new ConfigMap(place, entries);
    }

    private static void Refuse(NodeEvent node)
    {
        if (!node.Anchor.IsEmpty) throw new ConfigException(Of(node.Start), "anchors (&) are not supported: write the value where it is needed; quote a text that begins with '&'");
        if (!node.Tag.IsEmpty) throw new ConfigException(Of(node.Start), "tags (!) are not supported: write the value alone; quote a text that begins with '!'");
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
