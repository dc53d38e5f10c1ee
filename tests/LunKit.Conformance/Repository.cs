namespace LunKit.Conformance;

/// <summary>Where the repository is.</summary>
internal static class Repository
{
    public static string Root { get; } = Find(AppContext.BaseDirectory);

    private static string Find(string folder)
    {
        while (!File.Exists(Path.Combine(folder, "LunKit.slnx")))
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("LunKit.slnx is in no parent folder");
        return folder;
    }
}
