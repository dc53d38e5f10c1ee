using System.Runtime.InteropServices;

namespace LunKit.Conformance;

/// <summary>The program compiled ahead of time, built once for all tests that want it.</summary>
internal static class NativeAot
{
    private static readonly Lazy<Task<string>> s_published = new(BuildAsync);

    /// <summary>Builds it, or waits for whoever does; returns the program's path. Warnings fail the build.</summary>
    public static Task<string> PublishAsync() => s_published.Value;

    private static async Task<string> BuildAsync()
    {
        Tool.Require("gcc");
        string rid = $"linux-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}", folder = Path.Combine(Repository.Root, "artifacts/aot");
        await Tool.MustRunAsync("dotnet",
            ["publish", "-c", "Release", "--nologo", "-r", rid, "-p:PublishAot=true", "-p:CppCompilerAndLinker=gcc", "-o", folder, Path.Combine(Repository.Root, "src/LunKit.App")],
            limitSeconds: 600);
        return Path.Combine(folder, "LunKit.App");
    }
}
