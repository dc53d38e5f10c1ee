using System.Diagnostics;

namespace LunKit.App.Handle;

/// <summary>Modules of the running kernel.</summary>
internal static class KernelModules
{
    /// <summary>Whether a module is loaded, or built in.</summary>
    public static bool IsLoaded(string name) => Directory.Exists($"/sys/module/{name}");

    /// <summary>Whether a module that is not loaded could be: modprobe finds it.</summary>
    public static bool IsAvailable(string name) => IsLoaded(name) || Run("-n", name);

    /// <summary>Loads a module, if it is not there; what needs it says better than modprobe what that means.</summary>
    public static void Load(string name)
    {
        if (!IsLoaded(name)) Run("-q", name);
    }

    private static bool Run(string option, string name)
    {
        foreach (string tool in (string[])["/sbin/modprobe", "/usr/sbin/modprobe", "/usr/bin/modprobe"])
        {
            if (!File.Exists(tool)) continue;
            using var process = Process.Start(new ProcessStartInfo(tool, [option, name]) { RedirectStandardError = true, RedirectStandardOutput = true });
            return process is not null && process.WaitForExit(20_000) && process.ExitCode == 0;
        }
        return false;
    }
}
