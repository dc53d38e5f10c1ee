using System.Globalization;
using System.Text;

namespace LunKit.Conformance.Libiscsi;

/// <summary>Counts libiscsi's tests per version of its suite and kind of unit, for ./test to print.</summary>
internal static class Scoreboard
{
    private static readonly Lock s_gate = new();
    private static readonly SortedDictionary<(string Version, string Unit), (int Passed, int Failed, int Skipped)> s_rows = [];

    public static void Count(string version, string unit, int passed = 0, int failed = 0, int skipped = 0)
    {
        lock (s_gate)
        {
            var row = s_rows.GetValueOrDefault((version, unit));
            s_rows[(version, unit)] = (row.Passed + passed, row.Failed + failed, row.Skipped + skipped);
            var text = new StringBuilder("libiscsi's test suite, one process per test\n");
            text.Append(CultureInfo.InvariantCulture, $"{"version",-9}{"unit",-14}{"passed",8}{"failed",8}{"skipped",8}\n");
            foreach (var (key, r) in s_rows)
                text.Append(CultureInfo.InvariantCulture, $"{key.Version,-9}{key.Unit,-14}{r.Passed,8}{r.Failed,8}{r.Skipped,8}\n");
            File.WriteAllText(Path.Combine(Repository.Root, "artifacts/scoreboard.txt"), text.ToString());
        }
    }
}
