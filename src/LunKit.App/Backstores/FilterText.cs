using System.Globalization;
using LunKit.App.CommandLine;
using LunKit.App.Serve;
using LunKit.Backstores;

namespace LunKit.App.Backstores;

/// <summary>
/// The words of a filter on the command line: <c>KIND[:ARGUMENT][:option[=value]...]</c>, or <c>KIND:off</c>. What they mean is the kind's affair; every
/// error names the text.
/// </summary>
internal sealed class FilterText
{
    private readonly Func<string, UserException> _wrong;
    private readonly SpecOptions _options;

    private FilterText(string text, FilterKind kind, Func<string, UserException> wrong)
    {
        (Text, _wrong, _options) = (text, wrong, new(Wrong));
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        string rest = colon < 0 ? "" : text[(colon + 1)..];
        if (colon == text.Length - 1) throw Wrong("nothing stands after the last colon");
        IsOff = rest == "off";
        if (IsOff || rest.Length == 0) return;
        if (kind.TakesRest)
        {
            Argument = rest;
            return;
        }
        foreach (string word in rest.Split(':'))
        {
            if (word.Length == 0) throw Wrong("nothing stands between two colons");
            if (word == "off") throw Wrong($"'off' stands alone: {kind.Name}:off");
            bool isNamed = word.Contains('=') || kind.Options.Any(o => o.Name == word);
            if (isNamed || kind.Argument.Length == 0) _options.Add(word, kind.Options);
            else if (Argument is null) Argument = word;
            else throw Wrong($"'{word}' is no option, and '{Argument}' stands for {kind.Argument} already");
        }
    }

    public string Text { get; }

    /// <summary>Whether the filter does nothing until it is changed.</summary>
    public bool IsOff { get; }

    /// <summary>What stands without a name; null when nothing does.</summary>
    public string? Argument { get; }

    /// <summary>Reads the text of a filter. Throws <see cref="UserException"/>.</summary>
    /// <param name="text">The text, without <c>filter=</c>.</param>
    /// <param name="wrong">Makes the error that names what the filter stands in.</param>
    public static FilterSpec Parse(string text, Func<string, UserException> wrong)
    {
        string name = text.Split(':', 2)[0];
        var kind = FilterKinds.Find(name) ?? throw wrong(
            $"filter '{name}' is not known{Nearest.Hint(name, FilterKinds.All.Select(k => k.Name))}; there are {string.Join(", ", FilterKinds.All.Select(k => k.Name))}");
        var read = new FilterText(text, kind, wrong);
        try
        {
            return kind.Read(read);
        }
        catch (ArgumentException e)
        {
            throw read.Wrong(Words.Of(e));
        }
    }

    public UserException Wrong(string what) => _wrong($"filter '{Text}': {what}");

    public string? Option(string name) => _options.Value(name);

    public bool Has(string name) => _options.Has(name);

    public long? SizeOption(string name) => _options.SizeOption(name);

    /// <summary>A time such as 5ms, 2s or 1.5s.</summary>
    public TimeSpan Time(string what, string text)
    {
        var (digits, unit) = text.EndsWith("ms", StringComparison.Ordinal) ? (text[..^2], 1) : text.EndsWith('s') ? (text[..^1], 1000) : ("", 0);
        return double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number) && number * unit is >= 0 and < 1e9
            ? TimeSpan.FromMilliseconds(number * unit) : throw Wrong($"{what} '{text}' is not a time; write 5ms or 2s");
    }

    public TimeSpan? TimeOption(string name) => Option(name) is { } text ? Time($"{name}=", text) : null;

    /// <summary>A whole number.</summary>
    public long? NumberOption(string name, long least) => Option(name) is not { } text ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number >= least ? number
        : throw Wrong($"{name}={text} is not a whole number of {least} or more");

    /// <summary>A number such as 0.01, or 1%.</summary>
    public double? ShareOption(string name)
    {
        if (Option(name) is not { } text) return null;
        bool isPercent = text.EndsWith('%');
        return double.TryParse(isPercent ? text[..^1] : text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double share)
            ? isPercent ? share / 100 : share : throw Wrong($"{name}={text} is not a number such as 0.01 or 1%");
    }

    /// <summary>A range of bytes, FROM-TO; TO, or FROM, may be missing.</summary>
    public (long Start, long End) RangeOption(string name)
    {
        if (Option(name) is not { } text) return (0, long.MaxValue);
        string[] ends = text.Split('-');
        if (ends.Length != 2 || (ends[0].Length == 0 && ends[1].Length == 0)) throw Wrong($"{name}={text} is not FROM-TO, such as 1M-2M");
        // Zero is a place, and no size.
        return (ends[0] is "" or "0" ? 0 : _options.Size(ends[0]), ends[1].Length == 0 ? long.MaxValue : _options.Size(ends[1]));
    }
}
