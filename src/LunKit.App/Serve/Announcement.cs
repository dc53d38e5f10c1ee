using System.Globalization;
using System.Net;
using LunKit.Targets;

namespace LunKit.App.Serve;

/// <summary>What is printed once the target is ready: what is served, and the exact commands to attach it.</summary>
internal static class Announcement
{
    public static void Print(TextWriter console, ServeOptions options, Server server)
    {
        console.WriteLine($"LunKit serves {options.Iqn} on {string.Join(", ", server.Portals.Select(p => p.EndPoint))}");
        for (int lun = 0; lun < server.Units.Count; lun++) console.WriteLine($"  LUN {lun}: {server.Units[lun].Description}");
        if (server.HandlersPath is { } handlers) console.WriteLine($"  Handlers connect to {handlers}: lunkit handle --target {handlers}");
        string access = (options.Chap, options.Allow.Count) switch
        {
            (null, 0) => "anyone who reaches the portal",
            (null, _) => $"initiators {string.Join(", ", options.Allow)}",
            ({ } c, 0) => $"CHAP user {c.Name}{(options.MutualChap is null ? "" : ", mutual")}",
            ({ } c, _) => $"CHAP user {c.Name} as {string.Join(", ", options.Allow)}",
        };
        console.WriteLine($"  Access: {access}");
        console.WriteLine();
        foreach (string line in Attach(options, ReachableAddress.Of(server.Portals[0].EndPoint))) console.WriteLine(line);
        console.WriteLine();
    }

    private static IEnumerable<string> Attach(ServeOptions options, IPEndPoint portal)
    {
        string at = portal.ToString(), address = portal.Address.ToString(), port = portal.Port.ToString(CultureInfo.InvariantCulture);
        yield return "Attach with open-iscsi (Linux):";
        string node = $"  iscsiadm -m node -T {options.Iqn} -p {at}";
        if (options.Chap is not { } chap) yield return $"  iscsiadm -m discovery -t sendtargets -p {at}";
        else
        {
            // A record of one's own: discovery would need the credential too, and has another place for it.
            yield return $"{node} -o new";
            foreach (var (name, value) in Authentication(chap, options.MutualChap)) yield return $"{node} -o update -n node.session.auth.{name} -v {value}";
        }
        yield return $"{node} --login";
        yield return "Attach with QEMU:";
        yield return $"  qemu-system-x86_64 -drive file=iscsi://{(options.Chap is { } c ? c.Name + "%SECRET@" : "")}{at}/{options.Iqn}/0,format=raw,if=virtio";
        yield return "Attach with Windows (PowerShell as administrator):";
        yield return $"  New-IscsiTargetPortal -TargetPortalAddress {address} -TargetPortalPortNumber {port}";
        if (options.MutualChap is not null) yield return "  Set-IscsiChapSecret -ChapSecret SECRET-OF-THE-TARGET";
        string type = options.MutualChap is null ? "ONEWAYCHAP" : "MUTUALCHAP";
        yield return $"  Connect-IscsiTarget -NodeAddress {options.Iqn}{(options.Chap is { } w ? $" -AuthenticationType {type} -ChapUsername {w.Name} -ChapSecret SECRET" : "")}";
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
