using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace LunKit.App.Serve;

/// <summary>An address for commands that attach a disk: nobody can connect to a wildcard.</summary>
internal static class ReachableAddress
{
    /// <summary>The end point itself; for a wildcard an address of this machine that others may reach, else its loopback address.</summary>
    public static IPEndPoint Of(IPEndPoint portal) => Of(portal, OfThisMachine);

    internal static IPEndPoint Of(IPEndPoint portal, Func<IEnumerable<IPAddress>> own)
    {
        bool isBoth = portal.Address.Equals(IPAddress.IPv6Any);
        if (!isBoth && !portal.Address.Equals(IPAddress.Any)) return portal;
        // The wildcard of IPv6 is IPv4's, too, which more initiators have.
        var address = own().Where(a => isBoth || a.AddressFamily == AddressFamily.InterNetwork).Where(a => !IPAddress.IsLoopback(a) && !a.IsIPv6LinkLocal)
            .OrderBy(a => a.AddressFamily != AddressFamily.InterNetwork).FirstOrDefault();
        return new IPEndPoint(address ?? IPAddress.Loopback, portal.Port);
    }

    private static IEnumerable<IPAddress> OfThisMachine()
    {
        try
        {
            return [.. NetworkInterface.GetAllNetworkInterfaces().Where(i => i.OperationalStatus == OperationalStatus.Up)
                .SelectMany(i => i.GetIPProperties().UnicastAddresses).Select(a => a.Address)];
        }
        catch (NetworkInformationException)
        {
            return [];
        }
    }
}
