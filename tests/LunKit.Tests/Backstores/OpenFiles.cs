namespace LunKit.Tests.Backstores;

/// <summary>What this process has open.</summary>
internal static class OpenFiles
{
    /// <summary>Descriptors of a path.</summary>
    public static int Count(string path) => Directory.EnumerateFileSystemEntries("/proc/self/fd").Count(d =>
    {
        try
        {
            return new FileInfo(d).LinkTarget == path;
        }
        catch (IOException)
        {
            // Closed meanwhile, by another test.
            return false;
        }
    });
}
