using System.Net;
using System.Net.Sockets;
using LunKit.Iscsi.Login;
using LunKit.Targets;

namespace LunKit.Iscsi.Discovery;

/// <summary>
/// The answer to SendTargets (RFC 7143 appendix C): targets that the initiator may log in to, each with the addresses at which this
/// initiator may reach it, each address once.
/// </summary>
internal static class SendTargets
{
    /// <summary>The answer, or null for a value that this session must not ask or that is no name.</summary>
    /// <param name="value">"All" (all targets on a discovery session), a target's name, or empty for the session's own target.</param>
    /// <param name="isDiscovery">Whether a discovery session asks.</param>
    /// <param name="own">The target of the session.</param>
    /// <param name="targets">All targets.</param>
    /// <param name="portals">All portals.</param>
    /// <param name="initiator">Name of the initiator.</param>
    /// <param name="local">The address of this end of the connection, as the initiator reached it.</param>
    public static List<KeyValuePair<string, string>>? Answer(
        string value, bool isDiscovery, Target? own, IEnumerable<Target> targets, IReadOnlyList<Portal> portals,
        string initiator, IPAddress local)
    {
        IEnumerable<Target> selected;
        if (value == "All" && isDiscovery)
        {
            selected = targets;
        }
        // Appendix C has no All on a normal session, which may learn of its own target only. Asked all the same, it learns just that.
        else if (value == "All" && own is not null)
        {
            selected = [own];
        }
        else if (value.Length == 0)
        {
            if (own is null) return null;
            selected = [own];
        }
        else
        {
            selected = [.. targets.Where(t => string.Equals(t.Name, value, StringComparison.OrdinalIgnoreCase))];
            if (!selected.Any() && !IscsiName.HasType(value)) return null;
            if (!isDiscovery) selected = selected.Where(t => t == own);
        }
        var addresses = Addresses(portals, local);
        var answer = new List<KeyValuePair<string, string>>();
        foreach (var target in selected)
        {
            if (target.Admit(initiator) is null) continue;
            answer.Add(new("TargetName", target.Name));
            foreach (string address in addresses) answer.Add(new("TargetAddress", address));
        }
        return answer;
    }

    private static List<string> Addresses(IReadOnlyList<Portal> portals, IPAddress local)
    {
        var addresses = new List<string>();
        foreach (var portal in portals)
        {
            string? shown = portal.Advertise ?? (Shown(portal.EndPoint.Address, local) is { } own ? $"{new IPEndPoint(own, portal.EndPoint.Port)}" : null);
            if (shown is null) continue;
            string address = $"{shown},{portal.GroupTag}";
            if (!addresses.Contains(address)) addresses.Add(address);
        }
        return addresses;
    }

    /// <summary>
    /// What an initiator is told of a portal's address; null when it cannot reach it. A wildcard is the address that the initiator has used
    /// itself, if it is of the same family. Addresses that mean something on one link or one machine only are told to those who are
    /// there, and never with the zone, whose number is this host's own (RFC 4007 6).
    /// </summary>
    private static IPAddress? Shown(IPAddress portal, IPAddress local)
    {
        // A socket for both families shows IPv4 as IPv6: whoever came through it reached its IPv6 wildcard.
        bool isDual = local.IsIPv4MappedToIPv6;
        var (address, used) = (Plain(portal), Plain(local));
        if (address.Equals(IPAddress.IPv6Any)) return isDual || used.AddressFamily == AddressFamily.InterNetworkV6 ? WithoutZone(used) : null;
        if (address.Equals(IPAddress.Any)) return used.AddressFamily == AddressFamily.InterNetwork ? used : null;
        if (IPAddress.IsLoopback(address) && !IPAddress.IsLoopback(used)) return null;
        if (address.IsIPv6LinkLocal && !(used.IsIPv6LinkLocal && used.ScopeId == address.ScopeId)) return null;
        return IsIPv4LinkLocal(address) && !IsIPv4LinkLocal(used) ? null : WithoutZone(address);
    }

    private static IPAddress Plain(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;

    private static IPAddress WithoutZone(IPAddress address) =>
        address.AddressFamily == AddressFamily.InterNetworkV6 ? new IPAddress(address.GetAddressBytes()) : address;

    private static bool IsIPv4LinkLocal(IPAddress address) => address.AddressFamily == AddressFamily.InterNetwork && address.GetAddressBytes() is [169, 254, ..];
}
