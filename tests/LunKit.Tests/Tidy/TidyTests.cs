using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace LunKit.Tests.Tidy;

/// <summary>The repository checks itself: the rules of ARCHITECTURE.md and CONTRIBUTING.md that a machine can check.</summary>
public partial class TidyTests
{
    internal static string Root { get; } = FindRoot();

    private static string FindRoot()
    {
        string folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "LunKit.slnx"))) folder = Path.GetDirectoryName(folder)!;
        return folder;
    }

    private static IEnumerable<string> Sources(string under = "src") =>
        Directory.EnumerateFiles(Path.Combine(Root, under), "*.cs", SearchOption.AllDirectories).Where(f => !f.Contains("/obj/", StringComparison.Ordinal));

    [Fact]
    public void ProjectsDependInOneDirection()
    {
        var allowed = new Dictionary<string, string[]>
        {
            ["LunKit.Linux"] = [],
            ["LunKit"] = ["LunKit.Linux"],
            ["LunKit.Iscsi"] = ["LunKit"],
            ["LunKit.Tcmu"] = ["LunKit"],
            ["LunKit.Testing"] = ["LunKit"],
            ["LunKit.Ceph"] = ["LunKit"],
            ["LunKit.Gluster"] = ["LunKit"],
            ["LunKit.App"] = ["LunKit.Iscsi", "LunKit.Tcmu", "LunKit.Ceph", "LunKit.Gluster", "LunKit.Testing"],
        };
        foreach (string project in Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.csproj", SearchOption.AllDirectories))
        {
            string name = Path.GetFileNameWithoutExtension(project);
            var references = XDocument.Load(project).Descendants("ProjectReference").Select(r => Path.GetFileNameWithoutExtension((string)r.Attribute("Include")!));
            Assert.Subset(allowed[name].ToHashSet(), references.ToHashSet());
        }
    }

    [Theory]
    [InlineData("Scsi", "LogicalUnits", "Backstores", "Targets", "Diagnostics", "Linux", "Hosting")]
    [InlineData("Backstores", "LogicalUnits", "Scsi", "Targets", "Fabrics", "Hosting")]
    [InlineData("LogicalUnits", "Fabrics", "Iscsi", "Tcmu", "Hosting")]
    [InlineData("Targets", "Fabrics", "Iscsi", "Tcmu", "Hosting")]
    [InlineData("Fabrics", "Iscsi", "Tcmu", "Hosting")]
    [InlineData("Hosting", "Iscsi", "Tcmu")]
    public void FoldersOfTheCoreDoNotLookUp(string folder, params string[] forbidden)
    {
        foreach (string file in Sources($"src/LunKit/{folder}"))
            foreach (string name in forbidden)
                Assert.False(File.ReadAllText(file).Contains($"using LunKit.{name}", StringComparison.Ordinal), $"{file} uses LunKit.{name}");
    }

    /// <summary>The sides of TCMU and what they share; the root, which composes them, sees all.</summary>
    [Theory]
    [InlineData("Ring")]
    [InlineData("Devices")]
    [InlineData("ConfigFs", "Devices")]
    [InlineData("Handler", "Devices", "Ring")]
    [InlineData("Kernel", "Handler", "ConfigFs", "Devices", "Ring")]
    [InlineData("Target", "Devices", "Ring")]
    public void FoldersOfTcmuLookDown(string folder, params string[] allowed)
    {
        foreach (string file in Sources($"src/LunKit.Tcmu/{folder}"))
            foreach (Match other in TcmuFolder().Matches(File.ReadAllText(file)))
                Assert.True(other.Groups[1].Value == folder || allowed.Contains(other.Groups[1].Value), $"{file} uses {other.Value}");
    }

    [Fact]
    public void OnlyLinuxAndTheNativeBindingsAreUnsafe()
    {
        foreach (var assembly in (Assembly[])[typeof(LunKit.Backstores.IBackstore).Assembly, typeof(LunKit.Iscsi.IscsiServer).Assembly, typeof(LunKit.Tcmu.Ring.RingException).Assembly, typeof(LunKit.App.Serve.ByteSize).Assembly])
            Assert.DoesNotContain(assembly.Modules.SelectMany(m => m.CustomAttributes), a => a.AttributeType.Name == "UnverifiableCodeAttribute");
        Assert.Contains(typeof(LunKit.Linux.EventFd).Assembly.Modules.SelectMany(m => m.CustomAttributes), a => a.AttributeType.Name == "UnverifiableCodeAttribute");
    }

    [Fact]
    public void FilesAreSmall()
    {
        foreach (string file in Sources().Concat(Sources("tests")))
            Assert.True(File.ReadLines(file).Count() <= 400, $"{file} has more than 400 lines: split it by aspect");
    }

    [Fact]
    public void TypesAreSmallOverAllTheirParts()
    {
        var parts = Sources().SelectMany(file => PartialType().Matches(File.ReadAllText(file)).Select(m => (Type: m.Groups[1].Value, File: file)));
        foreach (var type in parts.GroupBy(p => (p.Type, Project: Path.GetRelativePath(Root, p.File).Split('/')[1])))
            Assert.True(type.Sum(p => File.ReadLines(p.File).Count()) <= 500, $"{type.Key} has more than 500 lines over all its parts: make it several objects");
    }

    [Fact]
    public void NothingIsLeftUndone()
    {
        string[] words = ["TO" + "DO", "FIX" + "ME", "NotImplemented" + "Exception", "HA" + "CK"];
        foreach (string file in Sources().Concat(Sources("tests")).Concat(Sources("samples")))
            foreach (string word in words)
                Assert.False(File.ReadAllText(file).Contains(word, StringComparison.Ordinal), $"{file} says {word}");
    }

    [Fact]
    public void EventIdsAreUnique()
    {
        var ids = Sources().SelectMany(f => EventId().Matches(File.ReadAllText(f)).Select(m => m.Groups[1].Value)).ToList();
        Assert.NotEmpty(ids);
        Assert.Equal(ids.Count, ids.Distinct().Count());
    }

    [Fact]
    public void LinksOfTheDocumentsLead()
    {
        var documents = Directory.EnumerateFiles(Root, "*.md").Concat(Directory.EnumerateFiles(Path.Combine(Root, "docs"), "*.md", SearchOption.AllDirectories));
        foreach (string document in documents)
        {
            foreach (Match link in Link().Matches(File.ReadAllText(document)))
            {
                string goal = link.Groups[1].Value.Split('#')[0];
                if (goal.Length == 0 || goal.Contains("://", StringComparison.Ordinal)) continue;
                Assert.True(Path.Exists(Path.Combine(Path.GetDirectoryName(document)!, goal)), $"{document} links to {goal}, which is not there");
            }
        }
    }

    /// <summary>Every row of the command table is traced in docs/compliance, and every code path that a row there names exists.</summary>
    [Fact]
    public void ComplianceNamesEveryCommand()
    {
        string text = File.ReadAllText(Path.Combine(Root, "docs/compliance/commands.md"));
        foreach (var row in LunKit.LogicalUnits.BlockCommands.Table.Rows) Assert.Contains($"| {row.Name} |", text, StringComparison.Ordinal);
        foreach (Match code in Code().Matches(text)) Assert.True(File.Exists(Path.Combine(Root, code.Value.Trim('`'))), $"{code.Value} is not there");
    }

    [GeneratedRegex(@"LunKit\.Tcmu\.([A-Z]\w+)")]
    private static partial Regex TcmuFolder();

    [GeneratedRegex(@"partial (?:class|struct) (\w+)")]
    private static partial Regex PartialType();

    [GeneratedRegex(@"LoggerMessage\((\d+)")]
    private static partial Regex EventId();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"`(src|tests)/[^`]+\.cs`")]
    private static partial Regex Code();
}
