using LunKit.Linux;

namespace LunKit.Tcmu.Kernel;

/// <summary>
/// An open <c>/dev/uioN</c>. The kernel lets one process have it open at a time: whoever has it owns the device, and nobody else touches it.
/// </summary>
internal sealed class UioHold : IDisposable
{
    /// <summary>Opens it.</summary>
    /// <exception cref="LinuxException">It cannot be opened; <see cref="LinuxException.IsBusy"/> when another process has it.</exception>
    public UioHold(string path)
    {
        try
        {
            File = new UioFile(path, Wake);
        }
        catch
        {
            Wake.Dispose();
            throw;
        }
    }

    public UioFile File { get; }

    /// <summary>Ends a wait for the device.</summary>
    public EventFd Wake { get; } = new();

    public void Dispose()
    {
        File.Dispose();
        Wake.Dispose();
    }
}
