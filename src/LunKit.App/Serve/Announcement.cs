using System.Globalization;
using LunKit.App.Config;
using LunKit.Targets;

namespace LunKit.App.Serve;

/// <summary>What is printed once the targets are ready: what is served, and the exact commands to attach one that is alone.</summary>
internal static class Announcement
{
    public static void Print(TextWriter console, Server server)
    {
        var config = server.Config;
        string portals = string.Join(", ", server.Portals.Select(p => p.EndPoint));
        if (config.Targets.Count == 0) console.WriteLine($"LunKit listens on {portals}; the configuration has no target yet");
        foreach (var target in config.Targets)
        {
            console.WriteLine($"LunKit serves {target.Definition.Name} on {portals}");
            foreach (var (lun, unit) in target.Luns.OrderBy(l => l.Key)) console.WriteLine($"  LUN {lun}: {server[unit].Description}");
            if (target == config.Targets[^1] && server.HandlersPath is { } handlers) console.WriteLine($"  Handlers connect to {handlers}: lunkit handle --target {handlers}");
            console.WriteLine($"  Access: {Access(target.Definition)}");
        }
        console.WriteLine();
        if (config.Targets.Count != 1) return;
        foreach (string line in Attach(config.Targets[0].Definition, server.Portals[0])) console.WriteLine(line);
        console.WriteLine();
    }

    private static string Access(Target target) => (target.Chap.Count, target.Acls.Count) switch
    {
        (0, 0) => "anyone who reaches the portal",
        (0, _) => $"initiators {string.Join(", ", target.Acls.Select(a => a.InitiatorName))}",
        (_, 0) => $"CHAP user {Users(target)}",
        _ => $"CHAP user {Users(target)} as {string.Join(", ", target.Acls.Select(a => a.InitiatorName))}",
    };

    private static string Users(Target target) => string.Join(", ", target.Chap.Select(c => c.Name)) + (target.MutualChap is not null && target.Acls.Count == 0 ? ", mutual" : "");

    private static IEnumerable<string> Attach(Target target, Portal portal)
    {
        var own = ReachableAddress.Of(portal.EndPoint);
        string at = portal.Advertise ?? own.ToString(), address = own.Address.ToString(), port = own.Port.ToString(CultureInfo.InvariantCulture);
        if (portal.Advertise is { } other) (address, port) = (other[..other.LastIndexOf(':')].Trim('[', ']'), other[(other.LastIndexOf(':') + 1)..]);
        var credential = target.Chap.Concat(target.Acls.Select(a => a.Chap).OfType<ChapCredential>()).FirstOrDefault();
        yield return "Attach with open-iscsi (Linux):";
        string node = $"  iscsiadm -m node -T {target.Name} -p {at}";
        if (credential is not { } chap) yield return $"  iscsiadm -m discovery -t sendtargets -p {at}";
        else
        {
            // A record of one's own: discovery would need the credential too, and has another place for it.
            yield return $"{node} -o new";
            foreach (var (name, value) in Authentication(chap, target.MutualChap)) yield return $"{node} -o update -n node.session.auth.{name} -v {value}";
        }
        yield return $"{node} --login";
        yield return "Attach with QEMU:";
        yield return $"  qemu-system-x86_64 -drive file=iscsi://{(credential is { } c ? c.Name + "%SECRET@" : "")}{at}/{target.Name}/0,format=raw,if=virtio";
        yield return "Attach with Windows (PowerShell as administrator):";
        yield return $"  New-IscsiTargetPortal -TargetPortalAddress {address} -TargetPortalPortNumber {port}";
        if (target.MutualChap is not null) yield return "  Set-IscsiChapSecret -ChapSecret SECRET-OF-THE-TARGET";
        string type = target.MutualChap is null ? "ONEWAYCHAP" : "MUTUALCHAP";
        yield return $"  Connect-IscsiTarget -NodeAddress {target.Name}{(credential is { } w ? $" -AuthenticationType {type} -ChapUsername {w.Name} -ChapSecret SECRET" : "")}";
    }

    private static IEnumerable<(string Name, string Value)> Authentication(ChapCredential chap, ChapCredential? mutual)
    {
        yield return ("authmethod", "CHAP");
        yield return ("username", chap.Name);
        yield return ("password", "SECRET");
        if (mutual is null) yield break;
        yield return ("username_in", mutual.Name);
        yield return ("password_in", "SECRET-OF-THE-TARGET");
    }
}
