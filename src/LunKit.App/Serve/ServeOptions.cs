using System.Globalization;
using System.Net;
using System.Net.Sockets;
using LunKit.App.Backstores;
using LunKit.App.Config;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>What the operator asked <c>lunkit serve</c> for, checked as far as that needs no I/O beyond name resolution.</summary>
internal sealed record ServeOptions
{
    public required IReadOnlyList<string> Backstores { get; init; }
    public required IReadOnlyList<Portal> Portals { get; init; }
    public required string Iqn { get; init; }
    public ChapCredential? Chap { get; init; }
    public ChapCredential? MutualChap { get; init; }
    /// <summary>Whether a credential is from the command line.</summary>
    public bool HasSecretOnCommandLine { get; init; }

    /// <summary>The file that the credentials are from; null: the command line.</summary>
    public string? ChapFile { get; init; }
    public IReadOnlyList<string> Allow { get; init; } = [];
    public string HandlersPath { get; init; } = HandlerSocket.DefaultPath;
    public long HandlerMemoryBytes { get; init; } = 1L << 30;
    public bool ReadOnly { get; init; }
    public bool WriteCache { get; init; } = true;
    public bool AllowAnyone { get; init; }
    public bool ExplicitAlua { get; init; }
    public bool ColdReset { get; init; }
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>Where the state of units is kept that are no files.</summary>
    public string StatePath { get; init; } = StateFolder.DefaultPath;

    /// <summary>The same as a configuration: one target, whose units are called lun0, lun1 and so on. Throws <see cref="UserException"/>.</summary>
    public LunKitConfig ToConfig()
    {
        IReadOnlyList<ChapCredential> credentials = Chap is { } chap ? [chap] : [];
        var units = Backstores.Select((text, lun) => (Name: $"lun{lun}", Unit: new UnitConfig(UnitSpec.Parse(text), MachineIdentity.Of($"{Iqn} lun {lun}")) { ReadOnly = ReadOnly, WriteCache = WriteCache }));
        var target = new Target
        {
            Name = Iqn, Luns = new Dictionary<int, LogicalUnit>(), Chap = credentials, MutualChap = MutualChap, ExplicitAlua = ExplicitAlua, Acls = [.. Allow.Select(name => new NodeAcl(name))],
        };
        return new LunKitConfig
        {
            Portals = Portals, Units = units.ToDictionary(u => u.Name, u => u.Unit), Targets = [new TargetConfig(target, Backstores.Select((_, lun) => lun).ToDictionary(lun => lun, lun => $"lun{lun}"))],
            DiscoveryChap = credentials, LogLevel = LogLevel, StatePath = StatePath, HandlersPath = HandlersPath, HandlerMemoryBytes = HandlerMemoryBytes, AllowAnyone = AllowAnyone, ColdReset = ColdReset,
        };
    }

    /// <summary>
    /// HOST:PORT, [IPv6]:PORT, HOST, or :PORT for all addresses, with ",TAG" for another portal group than 1 and ",advertise=HOST:PORT" for what initiators are told.
    /// </summary>
    public static Portal ParsePortal(string text)
    {
        const string Advertise = "advertise=";
        string[] parts = text.Split(',');
        int group = 1;
        string? advertised = null;
        foreach (string part in parts.Skip(1))
        {
            if (part.StartsWith(Advertise, StringComparison.Ordinal)) advertised = CheckAddress(part[Advertise.Length..], $"portal '{text}': advertise=");
            else if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out group) || group is < 1 or > 65535)
                throw new UserException($"portal '{text}': the portal group tag after the comma is not 1 to 65535", 2);
        }
        return ParseAddress(text, parts[0], group) with { Advertise = advertised };
    }

    /// <summary>HOST:PORT that others connect to; the host is not looked up here.</summary>
    public static string CheckAddress(string address, string what)
    {
        int colon = address.LastIndexOf(':');
        return colon > 0 && ushort.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) && port > 0 && !address.Any(c => char.IsWhiteSpace(c) || char.IsControl(c) || c == ',')
            && (!address[..colon].Contains(':') || address[0] == '[' && address[colon - 1] == ']') && address.Length <= 255 ? address : throw new UserException($"{what}'{address}' is not HOST:PORT", 2);
    }

    private static Portal ParseAddress(string text, string address, int group)
    {
        if (IPEndPoint.TryParse(address, out var point)) return new Portal(point.Port == 0 && !address.EndsWith(":0", StringComparison.Ordinal) ? new IPEndPoint(point.Address, 3260) : point, group);
        int colon = address.LastIndexOf(':');
        string host = colon < 0 ? address : address[..colon];
        ushort port = 3260;
        if (colon >= 0 && !ushort.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out port))
            throw new UserException($"portal '{text}': '{address[(colon + 1)..]}' is not a port", 2);
        // Of both families: the server listens to IPv4 on the IPv6 wildcard, too.
        if (host.Length == 0 && colon == 0) return new Portal(new IPEndPoint(Socket.OSSupportsIPv6 ? IPAddress.IPv6Any : IPAddress.Any, port), group);
        try
        {
            var found = Dns.GetHostAddresses(host).OrderBy(a => a.AddressFamily != AddressFamily.InterNetwork).FirstOrDefault();
            if (found is not null) return new Portal(new IPEndPoint(found, port), group);
        }
        catch (SocketException)
        {
            // Said below.
        }
        throw new UserException($"portal '{text}': host '{host}' is not an address and has none", 2);
    }

    /// <summary>
    /// USER:SECRET; the secret may contain colons. A user that is an iSCSI name, as Windows and ESXi use their own, has colons, too: it ends at a space.
    /// </summary>
    public static ChapCredential ParseCredential(string text, string option)
    {
        int end = HasNameType(text) ? text.IndexOf(' ', StringComparison.Ordinal) : text.IndexOf(':', StringComparison.Ordinal);
        if (HasNameType(text) && end < 0) throw new UserException($"{option}: a user that is an iSCSI name contains colons; write a space between it and the secret", 2);
        if (end < 1 || end == text.Length - 1) throw new UserException($"{option}: write USER:SECRET", 2);
        return new ChapCredential(text[..end], text[(end + 1)..]);
    }

    /// <summary>A file of one line USER:SECRET, and perhaps a second one for mutual CHAP.</summary>
    public static (ChapCredential Chap, ChapCredential? Mutual) ReadChapFile(string path)
    {
        try
        {
            var lines = File.ReadAllLines(path).Select(l => l.Trim()).Where(l => l.Length > 0 && l[0] != '#').ToList();
            if (lines.Count is < 1 or > 2) throw new UserException($"--chap-file {path}: one line USER:SECRET, and perhaps a second one for mutual CHAP, are expected; it has {lines.Count}", 2);
            return (ParseCredential(lines[0], $"--chap-file {path}, line 1"), lines.Count == 2 ? ParseCredential(lines[1], $"--chap-file {path}, line 2") : null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"--chap-file {path} cannot be read: {FileErrors.Why(e)}", inner: e);
        }
    }

    private static bool HasNameType(string name) => name.Length > 4 && name[..4].ToLowerInvariant() is "iqn." or "eui." or "naa.";

    /// <summary>The names of <c>--allow</c>: initiators' names have more letters than LunKit gives to targets.</summary>
    public static string CheckInitiator(string name) => HasNameType(name) && name.Length <= 223 && !name.Any(char.IsWhiteSpace) ? name
        : throw new UserException($"--allow '{name}' is not the name of an iSCSI initiator such as iqn.1993-08.org.debian:01:abc (/etc/iscsi/initiatorname.iscsi has it)", 2);

    public static void CheckIqn(string name)
    {
        if (!HasNameType(name) || name.Length > 223 || name.Any(c => !(char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '.' or '-' or ':')))
            throw new UserException($"--iqn '{name}' is not an iSCSI name: lower-case letters, digits, '-', '.', ':' after iqn., eui. or naa., e.g. iqn.2026-11.local.lunkit:disk", 2);
    }

    /// <summary>Whether a portal can be reached from other machines.</summary>
    public bool IsExposed => Portals.Any(p => !IPAddress.IsLoopback(p.EndPoint.Address));
}
