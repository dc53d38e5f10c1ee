using System.Globalization;
using System.Text;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.ConfigFs;

/// <summary>How a user backstore is made.</summary>
public sealed record UserBackstoreOptions
{
    /// <summary>Handler and what it is to open: <c>SUBTYPE/PATH</c>, at most 255 bytes, without a comma or a colon.</summary>
    public required string Config { get; init; }

    /// <summary>Size of the disk in bytes.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Logical block size in bytes.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Longest transfer of one command in bytes; the kernel's own default is 64 KiB, which costs throughput.</summary>
    public int MaxTransferBytes { get; init; } = 1 << 20;

    /// <summary>Memory for the data of commands, in MiB; pages of it come into being when they are used.</summary>
    public int DataAreaMegabytes { get; init; } = 64;

    /// <summary>Whether the kernel waits for a handler's reply; false when the maker is the handler and knows by itself.</summary>
    public bool WaitsForReplies { get; init; } = true;

    /// <summary>Unit serial number; null for the kernel's.</summary>
    public string? UnitSerial { get; init; }
}

/// <summary>A user backstore of the kernel (TCMU): <c>core/user_HBA/NAME</c>. Any thread.</summary>
public sealed class UserBackstore(string path) : ConfigFolder(path)
{
    internal static UserBackstore Of(TcmuDeviceName name, string root = KernelTarget.DefaultPath) => new KernelTarget(root).Backstore(name.Hba, name.Name);

    /// <summary>Makes it and enables it; when that fails, nothing is left of it.</summary>
    public void Create(UserBackstoreOptions options)
    {
        if (Encoding.UTF8.GetByteCount(options.Config) > 255 || options.Config.AsSpan().ContainsAny(',', ':', '\n'))
            throw new ArgumentException($"'{options.Config}' cannot be a configuration: at most 255 bytes, without ',' and ':'", nameof(options));
        if (Exists) throw new IOException($"{FolderPath} is there already");
        Create();
        try
        {
            Control("dev_config", options.Config);
            Control("dev_size", options.SizeBytes);
            Control("hw_block_size", options.BlockSize);
            Control("hw_max_sectors", options.MaxTransferBytes / options.BlockSize);
            Control("max_data_area_mb", options.DataAreaMegabytes);
            if (!options.WaitsForReplies) Control("nl_reply_supported", -1);
            if (options.UnitSerial is { } serial) Write("wwn/vpd_unit_serial", serial);
            Write("enable", "1");
        }
        catch
        {
            Remove();
            throw;
        }
    }

    private void Control(string key, string value) => Write("control", $"{key}={value}");
    private void Control(string key, long value) => Control(key, value.ToString(CultureInfo.InvariantCulture));

    /// <summary>Its configuration, <c>SUBTYPE/PATH</c>; empty when it has none.</summary>
    public string Config => Read("attrib/dev_config").Trim();

    /// <summary>Whether it is enabled, so that it has a UIO device.</summary>
    public bool IsEnabled => Read("enable").Trim() == "1";

    /// <summary>Whether who changes the device waits for its handler's answer.</summary>
    internal bool WaitsForReplies => !Has("attrib/nl_reply_supported") || ReadNumber("attrib/nl_reply_supported") >= 0;

    /// <summary>
    /// Gives the device back the size that its handler keeps. The kernel takes the other size when it has sent its event, so this waits for that.
    /// </summary>
    internal async Task KeepSizeAsync(long sizeBytes)
    {
        for (int tries = 0; tries < 20; tries++)
        {
            await Task.Delay(50).ConfigureAwait(false);
            if (ReadNumber("attrib/dev_size") == sizeBytes) continue;
            Write("attrib/dev_size", sizeBytes.ToString(CultureInfo.InvariantCulture));
            return;
        }
    }

    /// <summary>Everything that a handler wants to know.</summary>
    public DeviceDescription ReadSnapshot()
    {
        int block = (int)ReadNumber("attrib/hw_block_size");
        return new(ReadNumber("attrib/dev_size"), block, checked((int)(ReadNumber("attrib/hw_max_sectors") * block)), Labelled("wwn/vpd_unit_serial"),
            ReadNumber("attrib/emulate_write_cache") != 0)
        {
            Vendor = Optional("wwn/vendor_id"), Product = Optional("wwn/product_id"), Revision = Optional("wwn/revision"),
            WaitsForReplies = WaitsForReplies,
            CompanyId = Optional("wwn/company_id") is { Length: > 2 } id && int.TryParse(id.AsSpan(id.StartsWith("0x", StringComparison.Ordinal) ? 2 : 0), NumberStyles.AllowHexSpecifier, null, out int oui) ? oui : 0x001405,
        };
    }

    /// <summary>Its target port groups and their states; none before the kernel has it.</summary>
    internal IReadOnlyList<AccessGroup> ReadPortGroups()
    {
        string alua = Path.Combine(FolderPath, "alua"), target = Path.GetFullPath(Path.Combine(FolderPath, "../../.."));
        return [.. new ConfigFolder(alua).Folders().Select(name => new AccessGroupFolder(Path.Combine(alua, name), target).Read()).OfType<AccessGroup>()];
    }

    /// <summary>Stops (or lets go on) new commands: they are answered BUSY meanwhile.</summary>
    public void Block(bool blocked) => Write("action/block_dev", blocked ? "1" : "0");

    /// <summary>Empties the ring; outstanding commands end as BUSY, which initiators repeat.</summary>
    public void ResetRing() => Write("action/reset_ring", "1");

    /// <summary>Empties the ring; outstanding commands fail (NOT READY), and initiators do not repeat them.</summary>
    public void FailRing() => Write("action/reset_ring", "2");

    /// <summary>The kernel gives some values behind a label of its own.</summary>
    private string Labelled(string file)
    {
        string text = Read(file);
        int colon = text.IndexOf(": ", StringComparison.Ordinal);
        return (colon < 0 ? text : text[(colon + 2)..]).Trim();
    }

    private string Optional(string file) => Has(file) ? Labelled(file) : "";
}
