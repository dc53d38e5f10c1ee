using System.Net;
using LunKit.Targets;

namespace LunKit.Iscsi.Discovery;

/// <summary>
/// The answer to SendTargets (RFC 7143 appendix C): targets that the initiator may log in to, each with the portals at which it is
/// reached. A wildcard portal is shown as the address that the initiator used.
/// </summary>
internal static class SendTargets
{
    /// <param name="value">"All" (discovery sessions only), a target's name, or empty for the session's own target.</param>
    public static List<KeyValuePair<string, string>> Answer(
        string value, bool isDiscovery, Target? own, IEnumerable<Target> targets, IReadOnlyList<Portal> portals, string initiator, IPAddress local)
    {
        var selected = value switch
        {
            "All" => isDiscovery ? targets : [],
            "" => own is null ? [] : [own],
            _ => targets.Where(t => t.Name == value && (isDiscovery || t == own)),
        };
        var answer = new List<KeyValuePair<string, string>>();
        foreach (var target in selected)
        {
            if (target.Admit(initiator) is null) continue;
            answer.Add(new("TargetName", target.Name));
            foreach (var portal in portals) answer.Add(new("TargetAddress", $"{Address(portal, local)},{portal.GroupTag}"));
        }
        return answer;
    }

    private static string Address(Portal portal, IPAddress local)
    {
        var address = portal.EndPoint.Address;
        bool any = address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any);
        var shown = any ? local.IsIPv4MappedToIPv6 ? local.MapToIPv4() : local : address;
        return new IPEndPoint(shown, portal.EndPoint.Port).ToString();
    }
}
