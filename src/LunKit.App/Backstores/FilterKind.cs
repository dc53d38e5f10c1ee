using LunKit.App.Serve;
using LunKit.Backstores;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Backstores;

/// <summary>A kind of filter: how it is written, what its options are, and how it is made.</summary>
/// <param name="Name">What stands before the first colon.</param>
/// <param name="Argument">What stands after it without a name; empty where everything has one.</param>
/// <param name="Summary">What it does.</param>
/// <param name="Example">One that works, for help.</param>
/// <param name="Options">What stands between the colons. Every kind has 'off' besides, which must stand alone.</param>
/// <param name="Read">Reads a text; throws <see cref="UserException"/>, or <see cref="ArgumentException"/> for settings that the filter refuses.</param>
internal sealed record FilterKind(
    string Name, string Argument, string Summary, string Example, IReadOnlyList<BackstoreOption> Options, Func<FilterText, FilterSpec> Read)
{
    /// <summary>Whether all that follows the first colon is its argument, colons included.</summary>
    public bool TakesRest { get; init; }

    public string Syntax => $"{Name}{(TakesRest ? $":{Argument}" : (Argument.Length > 0 ? $"[:{Argument}]" : "") + (Options.Count > 0 ? "[:OPTION...]" : ""))}";
}

/// <summary>A filter that was read from a text, and can be made, or given to one that is in use.</summary>
/// <param name="Text">The text.</param>
/// <param name="Over">Makes the filter over a backstore, and takes it over. Throws <see cref="BackstoreException"/>; the backstore is then still the caller's.</param>
/// <param name="TryChange">Gives the settings to a filter; false when that is of another kind. Throws <see cref="BackstoreException"/>.</param>
internal sealed record FilterSpec(string Text, Func<IBackstore, ILogger, BackstoreFilter> Over, Func<BackstoreFilter, ValueTask<bool>> TryChange)
{
    /// <summary>A text that makes, and changes, filters of one type.</summary>
    public static FilterSpec Of<TFilter>(FilterText text, Func<IBackstore, ILogger, TFilter> over, Action<TFilter> change) where TFilter : BackstoreFilter =>
        new(text.Text, over, filter =>
        {
            if (filter is not TFilter same) return new(false);
            change(same);
            return new(true);
        });
}
