using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Gluster.Native;
using LunKit.Linux;

namespace LunKit.Gluster;

/// <summary>A connection to a volume, shared by all files that are reached the same way; closed, beside, with the last of them. Thread safe.</summary>
internal sealed class GlusterVolume : IDisposable
{
    private const int LogWarnings = 5;
    private static readonly ConcurrentQueue<nint> s_finished = new();
    private static readonly SharedConnections<string> s_connections = new(Finish);

    private readonly SharedConnection _connection;

    private GlusterVolume(SharedConnection connection) => _connection = connection;

    /// <summary>Connections of this process.</summary>
    internal static int Count => s_connections.Count;

    /// <summary>A connected volume; the caller disposes it once. Waits for a server. Throws <see cref="BackstoreException"/>.</summary>
    public static GlusterVolume Rent(GlusterBackstoreOptions options) =>
        new(s_connections.Rent($"{options.Transport} {options.Volume} {options.LogFile} {string.Join(' ', options.Servers)}", () => Connect(options)));

    private static nint Connect(GlusterBackstoreOptions options)
    {
        if (!Gfapi.IsUsable(out string why)) throw new BackstoreException(BackstoreError.Internal, why);
        nint volume = Gfapi.glfs_new(options.Volume);
        try
        {
            if (volume == 0) throw Failed("libgfapi");
            foreach (var server in options.Servers)
                if (Gfapi.glfs_set_volfile_server(volume, options.Transport, server.Host, server.Port) != 0) throw Failed($"server {server.Host}");
            if (Gfapi.glfs_set_logging(volume, options.LogFile ?? "/dev/null", LogWarnings) != 0) throw Failed($"log {options.LogFile}");
            // A write is acknowledged by the servers: what waits in this process would be lost with a connection, and a later fsync not know of it.
            if (Gfapi.glfs_set_xlator_option(volume, "*-write-behind", "pass-through", "true") != 0) throw Failed("libgfapi");
            if (Gfapi.glfs_init(volume) != 0)
                throw Failed($"volume {options.Volume} on {string.Join(", ", options.Servers.Select(s => $"{s.Host}:{s.Port}"))}", "; gluster volume info shows the volumes of a server, and whether they are started");
            return volume;
        }
        catch when (volume != 0)
        {
            Finish(volume);
            throw;
        }
    }

    /// <summary>Opens a file; it is created where <paramref name="creates"/>. Null, with errno, when that fails.</summary>
    public nint Open(string path, int mode, bool creates)
    {
        nint file = Gfapi.glfs_open(_connection.Handle, path, mode);
        if (file != 0 || !creates || (Errno)Marshal.GetLastPInvokeError() != Errno.ENOENT) return file;
        return Gfapi.glfs_creat(_connection.Handle, path, mode | Gfapi.Create, 0x180); // rw for the owner
    }

    /// <summary>What an errno says of an opening.</summary>
    public static BackstoreException Failed(string what, string hint = "") => GlusterErrors.OfOpening((Errno)Marshal.GetLastPInvokeError(), what, hint);

    /// <summary>
    /// libgfapi takes seconds to let go of a volume: no caller waits for that. Without a thread to do it the volume stays open until the next one
    /// is let go of.
    /// </summary>
    private static void Finish(nint volume)
    {
        s_finished.Enqueue(volume);
        try
        {
            new Thread(FinishAll, maxStackSize: 512 * 1024) { IsBackground = true, Name = "lunkit-gluster-fini" }.Start();
        }
        catch (Exception e) when (FileWorkers.IsThreadShortage(e))
        {
            // It is in the queue.
        }
    }

    private static void FinishAll()
    {
        while (s_finished.TryDequeue(out nint volume)) _ = Gfapi.glfs_fini(volume);
    }

    /// <summary>One user less.</summary>
    public void Dispose() => _connection.Dispose();
}
