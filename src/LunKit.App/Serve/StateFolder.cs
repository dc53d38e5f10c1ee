using System.Security.Cryptography;
using System.Text;
using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>
/// Where the state of units is kept that are no files: a file each, named for what identifies the device. The same device finds its identity and
/// its reservations again under whatever LUN it is served.
/// </summary>
internal sealed class StateFolder(string path, ILogger log)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    // Of the readable part of a name: what follows it makes names different.
    private const int ReadableLength = 80;

    public string Path => path;

    /// <summary>
    /// Whether a folder that cannot be used is an error: another process has kept the state of its units there, and initiators rely on that, as long as this process
    /// serves them.
    /// </summary>
    public bool MustWork { get; init; }

    /// <summary>The same folder, which must work.</summary>
    public StateFolder ThatMustWork => new(path, log) { MustWork = true };

    /// <summary>The folder that systemd gives to a service ($STATE_DIRECTORY), the folder of the machine for root, else of the user (XDG Base Directory Specification: XDG_STATE_HOME).</summary>
    public static string DefaultPath
    {
        get
        {
            // Of systemd's StateDirectory=, which a service that is no root can use.
            if (Environment.GetEnvironmentVariable("STATE_DIRECTORY") is { Length: > 0 } service) return System.IO.Path.Combine(service.Split(':')[0], "units");
            if (Environment.IsPrivilegedProcess) return "/var/lib/lunkit/units";
            string? home = Environment.GetEnvironmentVariable("XDG_STATE_HOME");
            // A relative path is to be ignored, says the specification.
            if (string.IsNullOrEmpty(home) || home[0] != '/') home = System.IO.Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local/state");
            return System.IO.Path.Combine(home, "lunkit");
        }
    }

    /// <summary>Name of the file of a device: readable, and different for different devices.</summary>
    public static string NameOf(string device)
    {
        string hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(device)).AsSpan(0, 8));
        string readable = string.Concat(device.Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' ? c : '-'));
        return $"{readable[..Math.Min(ReadableLength, readable.Length)].Trim('-', '.')}-{hash}.json";
    }

    /// <summary>
    /// The state of a device. Where the folder cannot be used a warning says so, and the state lasts as long as the process. Throws
    /// <see cref="BackstoreException"/> when another process serves the device, or the folder must work, or would if there were a descriptor or memory.
    /// </summary>
    /// <param name="unit">The unit's name, for the log.</param>
    /// <param name="device">What identifies the device.</param>
    /// <param name="id">Identity of a device that is served for the first time.</param>
    /// <param name="mayShare">Read-only: others may serve it as well; those that come later keep no state.</param>
    public IUnitStateStore Open(string unit, string device, Guid id, bool mayShare)
    {
        string file = System.IO.Path.Combine(path, NameOf(device));
        try
        {
            Directory.CreateDirectory(path, OwnerOnly);
            var state = FileUnitState.Lock(file, id);
            ServeLog.StateIsIn(log, unit, file);
            return state;
        }
        catch (BackstoreException e) when (e.Error == BackstoreError.InUse && mayShare)
        {
            return Volatile(unit, file, new FileUnitState(file, id).Load().Id, "another process serves the unit");
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException and not BackstoreException)
        {
            if (MustWork || LinuxException.IsShortage(e))
                throw new BackstoreException(BackstoreError.Busy, $"{unit}: its state in {file} cannot be used, and may say what initiators rely on: {FileErrors.Why(e)}", null, e);
            return Volatile(unit, file, id, e.Message);
        }
    }

    private VolatileUnitState Volatile(string unit, string file, Guid id, string why)
    {
        ServeLog.StateIsVolatile(log, unit, file, why);
        return new VolatileUnitState(id);
    }
}
