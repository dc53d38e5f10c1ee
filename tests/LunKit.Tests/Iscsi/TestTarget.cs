using System.Net;
using LunKit.Backstores;
using LunKit.Iscsi;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

/// <summary>A real server on a free loopback port, with a memory disk at LUN 0 (or others), and initiators for it.</summary>
internal sealed class TestTarget : IAsyncDisposable
{
    public const string Iqn = "iqn.2026-11.local.lunkit:test";
    private readonly List<IscsiInitiator> _initiators = [];

    public TestTarget(
        IscsiLimits? limits = null, ChapCredential? chap = null, ChapCredential? mutual = null, IReadOnlyList<NodeAcl>? acls = null,
        IReadOnlyDictionary<int, IBackstore>? stores = null, string? redirect = null, int portals = 1,
        bool coldReset = false)
    {
        stores ??= new Dictionary<int, IBackstore> { [0] = new MemoryBackstore(64 << 20) };
        Units = stores.ToDictionary(s => s.Key, s => new BlockUnit(s.Value, $"lun{s.Key}", new VolatileUnitState(UnitIdentity.IdOf($"lun{s.Key}"))));
        Target = new Target
        {
            Name = Iqn, Luns = Units.ToDictionary(u => u.Key, u => (LogicalUnit)u.Value), Chap = chap is null ? [] : [chap], MutualChap = mutual,
            Acls = acls ?? [], RedirectTo = redirect,
        };
        Server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [.. Enumerable.Range(1, portals).Select(i => new Portal(new IPEndPoint(IPAddress.Loopback, 0), i))],
            Targets = [Target],
            DiscoveryChap = Target.Chap,
            AllowsTargetColdReset = coldReset,
            Limits = limits ?? new IscsiLimits { LogoutTimeoutSeconds = 1 },
        });
        Server.Start();
    }

    public Dictionary<int, BlockUnit> Units { get; }
    public BlockUnit Unit => Units[0];
    public Target Target { get; }
    public IscsiServer Server { get; }
    public IPEndPoint EndPoint => Server.Portals[0].EndPoint;

    public InitiatorOptions Options => new() { Portal = EndPoint, TargetName = Iqn };

    public async Task<IscsiInitiator> ConnectAsync(InitiatorOptions? options = null)
    {
        var initiator = await IscsiInitiator.ConnectAsync(options ?? Options);
        _initiators.Add(initiator);
        // Takes the power-on unit attention of each LUN.
        if ((options ?? Options).TargetName is not null)
            foreach (int lun in Units.Keys) await initiator.ExecuteAsync(lun, new byte[6]);
        return initiator;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var initiator in _initiators) await initiator.DisposeAsync();
        await Server.StopAsync();
        foreach (var unit in Units.Values) await unit.DisposeAsync();
    }
}

internal static class Cdbs
{
    public static byte[] Read16(long lba, int blocks) => InternalCommand.Cdb16(LunKit.Scsi.Opcode.Read16, lba, (uint)blocks);

    public static byte[] Write16(long lba, int blocks) => InternalCommand.Cdb16(LunKit.Scsi.Opcode.Write16, lba, (uint)blocks);
}
