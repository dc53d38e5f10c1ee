using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>Signals.</summary>
[SupportedOSPlatform("linux")]
public static class Signals
{
    private const int Sighup = 1, Sigterm = 15;

    /// <summary>Hears SIGHUP, which nohup and some service managers have a process start without: .NET leaves what is ignored ignored.</summary>
    public static void HearHangUp()
    {
        if (LibC.signal(Sighup, 0) == -1) throw new LinuxException("signal", LibC.Errno);
    }

    /// <summary>Asks a process to end (SIGTERM). Throws <see cref="LinuxException"/> when it is gone or is another user's.</summary>
    public static void Terminate(int pid)
    {
        if (LibC.kill(pid, Sigterm) != 0) throw new LinuxException("kill", LibC.Errno);
    }
}
