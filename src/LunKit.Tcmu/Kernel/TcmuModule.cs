using LunKit.Linux;

namespace LunKit.Tcmu.Kernel;

/// <summary>Parameters of the kernel module, where it has them (Linux 4.19). Each throws <see cref="IOException"/> when there is no descriptor for it.</summary>
internal static class TcmuModule
{
    private const string Parameters = "/sys/module/target_core_user/parameters";

    /// <summary>Holds new events back: whoever would make one is told EAGAIN.</summary>
    public static void HoldEvents() => Write("block_netlink", "1");

    /// <summary>Ends all waits for replies, whoever is to give them, with EINTR. Events must be held back.</summary>
    public static void EndWaits() => Write("reset_netlink", "1");

    /// <summary>Lets events come.</summary>
    public static void AllowEvents() => Write("block_netlink", "0");

    private static void Write(string parameter, string value)
    {
        string path = Path.Combine(Parameters, parameter);
        if (!File.Exists(path)) return;
        try
        {
            File.WriteAllText(path, value);
        }
        catch (IOException e) when (!LinuxException.IsShortage(e))
        {
            // Older kernels refuse where there is nothing to release.
        }
    }
}
