using System.Text;
using System.Text.Json.Nodes;
using LunKit.App.Serve;
using LunKit.Iscsi;
using LunKit.Scsi;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Config;

/// <summary>The whole configuration: every key, what may stand behind it, and what it means. Reading, the schema for editors and the documents follow from it.</summary>
internal static class ConfigShape
{
    /// <summary>Levels of the log, as the file writes them.</summary>
    public static IReadOnlyList<string> Levels { get; } = [.. Enum.GetNames<LogLevel>().Select(l => l.ToLowerInvariant())];

    /// <summary>Each has a thread that listens, and perhaps a host name to be looked up.</summary>
    public const int MostPortals = 64;

    private static readonly MapShape s_credential = new(
    [
        new("user", new TextShape("a CHAP user", WhyNotName), "CHAP name (CHAP_N); Windows and ESXi use the initiator's own name", null),
        new("secret", new TextShape("a CHAP secret"), "the secret; at least 12 characters, and better in a file of its own", ""),
        new("secret-file", new TextShape("a path"), "a file whose first line is the secret", ""),
        new("credential", new TextShape("a name"), "the secret is the systemd credential of this name (LoadCredential=)", ""),
    ]) { HasSecrets = true };

    private static readonly MapShape s_acl = new(
    [
        new("chap", s_credential, "the credential that this initiator must use", "any of the target's"),
        new("luns", new NamedShape("LUN", WhyNotLun, new NumberShape(0, LunAddress.MaxLun)), "what it sees: the LUN that it sees, and the target's LUN behind it (LIO: mapped_lun)", "all LUNs, as they are"),
    ]);

    private static readonly MapShape s_target = new(
    [
        new("alias", new TextShape("a text", WhyNotName), "text for people (TargetAlias)", "LunKit"),
        new("luns", new NamedShape("LUN", WhyNotLun, new TextShape("the name of a unit")), "units by LUN", "none"),
        new("chap", new ListShape(s_credential), "credentials of which an initiator must have one", "none: no authentication"),
        new("mutual-chap", s_credential, "the credential with which the target proves itself to initiators that ask", "none"),
        new("acls", new NamedShape("INITIATOR", WhyNotInitiator, s_acl), "initiators that may log in, and what each may do (LIO: node ACLs)", "every initiator may log in"),
        new("explicit-alua", new FlagShape(), "let initiators set the access states of port groups, for all others too", "false"),
        new("redirect", new TextShape("HOST:PORT[,GROUP]", WhyNotAddress), "where initiators are sent instead (login redirection)", "nowhere"),
        new("redirect-permanently", new FlagShape(), "whether they are to remember that", "false"),
    ]);

    private static readonly MapShape s_portal = new(
    [
        new("address", new TextShape("HOST:PORT"), "where to listen; :PORT is every address of the machine", null),
        new("group", new NumberShape(1, 65535), "target portal group tag: portals of one group can share a session", "1"),
        new("advertise", new TextShape("HOST:PORT", text => Why(() => ServeOptions.CheckAddress(text, ""))), "what initiators are told instead of the address (SendTargets), behind NAT or a container's port", "the address"),
    ]);

    /// <summary>The file.</summary>
    public static MapShape Root { get; } = new(
    [
        new("portals", new ListShape(new EitherShape(new TextShape("HOST:PORT"), s_portal), Least: 1, Most: MostPortals), "where to listen", ServeCommand.DefaultPortal),
        new("units", new NamedShape("NAME", WhyNotUnit, new UnitShape()), "what is served, by a name of your own", "none"),
        new("targets", new NamedShape("IQN", WhyNotTarget, s_target), "iSCSI targets by name", "none"),
        new("discovery", new MapShape([new("chap", new ListShape(s_credential), "credentials of which a discovery session must have one", "none: discovery is open")]), "SendTargets discovery", ""),
        new("limits", new MapShape([.. LimitFields.All.Select(FieldOf)]), "what peers may use", ""),
        new("log", new MapShape([new("level", new WordShape(Levels), "what is logged: this and what is worse", "information")]), "the log, on standard error", ""),
        new("handlers", new MapShape(
        [
            new("socket", new TextShape("a path"), "where handler processes of user: units connect: a path, or '@' and a name", "handlers.sock in the runtime directory"),
            new("memory", new SizeShape(1 << 20), "shared memory that the data of all user: units may take together", "1G"),
        ]), "handler processes", ""),
        new("state-dir", new TextShape("a path"), "folder that keeps identity and reservations of units that are no files", "/var/lib/lunkit/units (root)"),
        new("allow-anyone", new FlagShape(), "serve other machines without CHAP or acls", "false"),
        new("cold-reset", new FlagShape(), "let initiators end the sessions of all others by TARGET COLD RESET", "false"),
    ]);

    private static ConfigField FieldOf(LimitField limit)
    {
        long otherwise = limit.Get(new IscsiLimits());
        return new(limit.Key, limit.IsSize ? new SizeShape(limit.Least, limit.Most) : new NumberShape(limit.Least, limit.Most), limit.Meaning, limit.IsSize ? ByteSize.Format(otherwise) : $"{otherwise}");
    }

    // RFC 7143 6.1: values of text keys that are no numbers have 255 bytes at most.
    private static string? WhyNotName(string text) => Encoding.UTF8.GetByteCount(text) <= 255 && !text.Any(char.IsControl) ? null : "the text has more than 255 bytes, or control characters";

    private static string? WhyNotAddress(string text)
    {
        string[] parts = text.Split(',');
        return parts.Length <= 2 && Why(() => ServeOptions.CheckAddress(parts[0], "")) is null && (parts.Length == 1 || NumberShape.Parse(parts[1]) is > 0 and <= 65535) ? null : $"'{text}' is not HOST:PORT[,GROUP]";
    }

    private static string? WhyNotLun(string text) => NumberShape.Parse(text) is >= 0 and <= LunAddress.MaxLun ? null : $"'{text}' is not a LUN: 0 to {LunAddress.MaxLun}";

    private static string? WhyNotUnit(string name) => name.Length is > 0 and <= 64 && char.IsAsciiLetterOrDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-')
        ? null : $"'{name}' is not a unit's name: letters, digits, '.', '_' and '-', at most 64";

    private static string? WhyNotTarget(string name) => Why(() => ServeOptions.CheckIqn(name));

    private static string? WhyNotInitiator(string name) => Why(() => ServeOptions.CheckInitiator(name));

    private static string? Why(Action check)
    {
        try
        {
            check();
            return null;
        }
        catch (UserException e)
        {
            // Without the option of the command line.
            return e.Message[(e.Message.IndexOf('\'', StringComparison.Ordinal))..];
        }
    }

    /// <summary>The schema, for editors.</summary>
    public static JsonObject Schema()
    {
        var schema = new JsonObject
        {
            ["$schema"] = "https://json-schema.org/draft/2020-12/schema", ["title"] = "LunKit configuration", ["description"] = "What `lunkit serve --config FILE` serves.",
        };
        foreach (var (key, value) in Root.Schema()) schema[key] = value?.DeepClone();
        return schema;
    }
}
