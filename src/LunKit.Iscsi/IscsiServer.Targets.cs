using LunKit.Hosting;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Sessions;
using LunKit.LogicalUnits;
using LunKit.Targets;

namespace LunKit.Iscsi;

/// <summary>The targets, which may change while they are served.</summary>
public sealed partial class IscsiServer
{
    private readonly TargetPorts _ports;
    private volatile IReadOnlyDictionary<string, Target> _byName = new Dictionary<string, Target>();

    internal IEnumerable<Target> Targets => _byName.Values;

    Target? ITargetDirectory.Find(string name) => _byName.GetValueOrDefault(name);

    /// <inheritdoc/>
    string IFabric.Name => "iscsi";

    /// <inheritdoc/>
    IReadOnlyList<SessionSnapshot> IFabric.Sessions => [.. Sessions.All.Select(s => s.Snapshot())];

    /// <inheritdoc/>
    public bool EndSession(string id, string reason)
    {
        if (Sessions.All.FirstOrDefault(s => s.Id == id) is not { } session) return false;
        session.Close(reason);
        return true;
    }

    /// <inheritdoc/>
    public void Check(Target target)
    {
        if (!IscsiName.HasType(target.Name))
            throw new ArgumentException($"'{target.Name}' is not an iSCSI name; write iqn.YYYY-MM.DOMAIN:NAME, eui.NUMBER or naa.NUMBER", nameof(target));
        target.Check();
    }

    /// <summary>
    /// Puts a target in place of the one with its name, or adds it. Sessions go on: their LUNs change as the new definition says, with
    /// the unit attentions that tell so; those of initiators that it no longer admits end. What left the target is not disposed.
    /// </summary>
    public void SetTarget(Target target)
    {
        Check(target);
        lock (_gate)
        {
            var before = _byName.GetValueOrDefault(target.Name);
            var ports = _ports.Of(target.Name);
            foreach (var unit in target.Luns.Values.Distinct()) unit.SetPorts(target.Name.ToLowerInvariant(), ports, target.ExplicitAlua);
            _byName = _byName.Values.Where(t => !IsNamed(t, target.Name)).Append(target).ToDictionary(t => t.Name, StringComparer.OrdinalIgnoreCase);
            foreach (var session in Sessions.Of(target.Name))
            {
                session.Target = target;
                if (target.Admit(session.Parameters.InitiatorName) is { } acl) session.Nexus.Change(target.LunsOf(acl));
                else session.Close("the initiator is no longer admitted");
                foreach (var connection in session.Connections) connection.Wake();
            }
            // Not before no session sees it any more: its access states hold until then.
            if (before is not null) HidePorts(before, [.. target.Luns.Values]);
        }
    }

    /// <summary>Takes a target away and ends its sessions; false when there is none of that name. Its units are not disposed.</summary>
    public bool RemoveTarget(string name)
    {
        lock (_gate)
        {
            if (!_byName.TryGetValue(name, out var target)) return false;
            _byName = _byName.Values.Where(t => !IsNamed(t, name)).ToDictionary(t => t.Name, StringComparer.OrdinalIgnoreCase);
            foreach (var session in Sessions.Of(name)) session.Close("the target was removed");
            HidePorts(target, []);
            return true;
        }
    }

    private static bool IsNamed(Target target, string name) => string.Equals(target.Name, name, StringComparison.OrdinalIgnoreCase);

    /// <summary>Units that are in a target no more lose its ports.</summary>
    private static void HidePorts(Target before, HashSet<LogicalUnit> stay)
    {
        foreach (var unit in before.Luns.Values.Distinct())
            if (!stay.Contains(unit)) unit.SetPorts(before.Name.ToLowerInvariant(), [], isExplicit: false);
    }
}
