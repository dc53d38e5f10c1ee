using System.Globalization;

namespace LunKit.Tcmu.Kernel;

/// <summary>What the kernel knows of a device, read once from configfs: never on the data path.</summary>
/// <param name="SizeBytes">Size of the disk.</param>
/// <param name="BlockSize">Logical block size.</param>
/// <param name="MaxTransferBytes">Longest transfer of one command.</param>
/// <param name="UnitSerial">Serial of the unit, from which its NAA name follows.</param>
/// <param name="WriteCache">Whether the device tells initiators of a write cache.</param>
internal sealed record TcmuDeviceSnapshot(long SizeBytes, int BlockSize, int MaxTransferBytes, string UnitSerial, bool WriteCache);

/// <summary>
/// A user backstore's folder in configfs, <c>/sys/kernel/config/target/core/user_HBA/NAME</c>: typed reads and writes of what LunKit
/// needs. Errors are the kernel's, as <see cref="IOException"/> with the file's path.
/// </summary>
internal sealed class TcmuBackstoreFolder(string path)
{
    public const string Core = "/sys/kernel/config/target/core";

    public string FolderPath => path;

    public static TcmuBackstoreFolder Of(TcmuDeviceName name, string core = Core) => new(Path.Combine(core, name.ConfigFsPath));

    public TcmuDeviceSnapshot ReadSnapshot()
    {
        int block = (int)Number("attrib/hw_block_size");
        return new(Number("attrib/dev_size"), block, checked((int)(Number("attrib/hw_max_sectors") * block)), Serial(), Number("attrib/emulate_write_cache") != 0);
    }

    /// <summary>Stops (or lets go on) new commands: they are answered BUSY meanwhile.</summary>
    public void Block(bool blocked) => Write("action/block_dev", blocked ? "1" : "0");

    /// <summary>Empties the ring; outstanding commands end as BUSY, which initiators repeat.</summary>
    public void ResetRing() => Write("action/reset_ring", "1");

    /// <summary>The kernel gives the serial behind a label of its own.</summary>
    private string Serial()
    {
        string text = Read("wwn/vpd_unit_serial");
        int colon = text.IndexOf(": ", StringComparison.Ordinal);
        return (colon < 0 ? text : text[(colon + 2)..]).Trim();
    }

    private long Number(string file)
    {
        string text = Read(file);
        return long.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out long value) ? value : throw new IOException($"{Path.Combine(path, file)} is '{text}', not a number");
    }

    private string Read(string file) => File.ReadAllText(Path.Combine(path, file)).Trim();

    private void Write(string file, string value)
    {
        // configfs takes one write of the whole value, and never creates a file.
        using var stream = new FileStream(Path.Combine(path, file), FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        stream.Write(System.Text.Encoding.ASCII.GetBytes(value));
    }
}
