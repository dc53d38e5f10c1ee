using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>Signals to other processes.</summary>
[SupportedOSPlatform("linux")]
public static class Signals
{
    private const int Sigterm = 15;

    /// <summary>Asks a process to end (SIGTERM). Throws <see cref="LinuxException"/> when it is gone or is another user's.</summary>
    public static void Terminate(int pid)
    {
        if (LibC.kill(pid, Sigterm) != 0) throw new LinuxException("kill", LibC.Errno);
    }
}
