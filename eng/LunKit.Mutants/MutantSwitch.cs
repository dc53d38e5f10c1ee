namespace LunKit.Linux;

/// <summary>Which of the mutants in this build is active. Put into the scratch tree by eng/mutants; no part of the product.</summary>
public static class MutantSwitch
{
    private static readonly int s_active = int.TryParse(Environment.GetEnvironmentVariable("LUNKIT_MUTANT"), out int number) ? number : 0;
    private static readonly string? s_file = Environment.GetEnvironmentVariable("LUNKIT_MUTANT_HITS");
    private static readonly byte[] s_hits = Record();

    /// <summary>Whether <paramref name="mutant"/> is the active one.</summary>
    public static bool Is(int mutant)
    {
        if (mutant == s_active) return true;
        if (s_hits.Length > 0) s_hits[mutant] = 1;
        return false;
    }

    private static byte[] Record()
    {
        if (s_file is null) return [];
        var hits = new byte[1 << 16];
        AppDomain.CurrentDomain.ProcessExit += (_, _) =>
            File.WriteAllLines(s_file, Enumerable.Range(0, hits.Length).Where(n => hits[n] != 0).Select(n => n.ToString()));
        return hits;
    }
}
