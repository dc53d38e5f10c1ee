using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LunKit.App.Config;

/// <summary>Writes a document as YAML that <see cref="ConfigReader"/> reads as the same.</summary>
internal static class YamlText
{
    public static string Of(JsonObject document)
    {
        var text = new StringBuilder();
        Write(text, document, 0);
        return text.ToString();
    }

    private static void Write(StringBuilder text, JsonObject map, int indent)
    {
        foreach (var (key, value) in map)
        {
            text.Append(' ', indent).Append(Scalar(key)).Append(':');
            WriteValue(text, value, indent);
        }
    }

    private static void WriteValue(StringBuilder text, JsonNode? value, int indent)
    {
        switch (value)
        {
            case JsonObject { Count: > 0 } map:
                text.Append('\n');
                Write(text, map, indent + 2);
                break;
            case JsonArray { Count: > 0 } list:
                text.Append('\n');
                foreach (var item in list) WriteItem(text, item, indent + 2);
                break;
            default:
                text.Append(' ').Append(Plain(value)).Append('\n');
                break;
        }
    }

    private static void WriteItem(StringBuilder text, JsonNode? item, int indent)
    {
        text.Append(' ', indent).Append('-');
        if (item is not JsonObject { Count: > 0 } map)
        {
            text.Append(' ').Append(Plain(item)).Append('\n');
            return;
        }
        var block = new StringBuilder();
        Write(block, map, indent + 2);
        // The first key stands beside the dash.
        text.Append(' ').Append(block.ToString().TrimStart(' '));
    }

    private static string Plain(JsonNode? value) => value switch
    {
        null => "null",
        JsonObject => "{}",
        JsonArray => "[]",
        _ when value.GetValueKind() == JsonValueKind.String => Scalar(value.GetValue<string>()),
        _ => value.ToJsonString(),
    };

    /// <summary>A text, in quotation marks where it would be read as something else without.</summary>
    private static string Scalar(string text)
    {
        bool isPlain = text.Length > 0 && char.IsAsciiLetterOrDigit(text[0]) && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' or '/' or '+' or '@') || IsNameOrAddress(text);
        return isPlain && text is not ("null" or "true" or "false") ? text : Quoted(text);
    }

    // Colons that no space follows are a part of the word.
    private static bool IsNameOrAddress(string text) =>
        text.Length > 0 && (char.IsAsciiLetterOrDigit(text[0]) || text[0] == '/') && !text.EndsWith(':') && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or ':' or '-' or '/' or '_');

    private static string Quoted(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (char c in text)
        {
            if (c is '"' or '\\') quoted.Append('\\').Append(c);
            else if (char.IsControl(c) || char.IsSurrogate(c) || c is '\u2028' or '\u2029' or '\uFEFF') quoted.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:X4}");
            else quoted.Append(c);
        }
        return quoted.Append('"').ToString();
    }
}
