namespace LunKit.App.CommandLine;

/// <summary>What somebody may have meant who mistyped a word.</summary>
internal static class Nearest
{
    // Nobody mistypes longer words, and comparing takes time and memory with the product of two lengths.
    private const int MostLength = 128;

    // A list of ten thousand names is compared in part only.
    private const int MostKnown = 1000;

    /// <summary>"; did you mean 'serve'?", or nothing when no known word is near.</summary>
    public static string Hint(string word, IEnumerable<string> known) =>
        // A third of the word may be wrong.
        word.Length <= MostLength && known.Take(MostKnown).Where(k => k.Length <= MostLength).Select(k => (Word: k, Distance: Distance(word, k)))
            .Where(k => k.Distance <= Math.Max(1, word.TrimStart('-').Length / 3)).OrderBy(k => k.Distance).Select(k => k.Word).FirstOrDefault() is { } nearest
            ? $"; did you mean '{nearest}'?" : "";

    /// <summary>How many letters have to be put in, taken out, replaced or swapped with their neighbour (restricted Damerau-Levenshtein).</summary>
    private static int Distance(string a, string b)
    {
        var rows = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++) rows[i, 0] = i;
        for (int j = 0; j <= b.Length; j++) rows[0, j] = j;
        for (int i = 1; i <= a.Length; i++)
        {
            for (int j = 1; j <= b.Length; j++)
            {
                int replaced = rows[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                rows[i, j] = Math.Min(replaced, 1 + Math.Min(rows[i - 1, j], rows[i, j - 1]));
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) rows[i, j] = Math.Min(rows[i, j], rows[i - 2, j - 2] + 1);
            }
        }
        return rows[a.Length, b.Length];
    }
}
