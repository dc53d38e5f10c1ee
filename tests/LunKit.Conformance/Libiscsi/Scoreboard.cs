using System.Globalization;
using System.Text;

namespace LunKit.Conformance.Libiscsi;

/// <summary>Counts libiscsi's tests per kind of unit, for ./test to print.</summary>
internal static class Scoreboard
{
    private static readonly Lock s_gate = new();
    private static readonly SortedDictionary<string, (int Passed, int Failed, int Skipped)> s_rows = [];

    public static void Count(string unit, int passed = 0, int failed = 0, int skipped = 0)
    {
        lock (s_gate)
        {
            var row = s_rows.GetValueOrDefault(unit);
            s_rows[unit] = (row.Passed + passed, row.Failed + failed, row.Skipped + skipped);
            var text = new StringBuilder("libiscsi 1.19 test suite (230 tests), one process per test\n");
            text.Append(CultureInfo.InvariantCulture, $"{"",-14}{"passed",8}{"failed",8}{"skipped",8}\n");
            foreach (var (name, r) in s_rows) text.Append(CultureInfo.InvariantCulture, $"{name,-14}{r.Passed,8}{r.Failed,8}{r.Skipped,8}\n");
            File.WriteAllText(Path.Combine(Repository.Root, "artifacts/scoreboard.txt"), text.ToString());
        }
    }
}
