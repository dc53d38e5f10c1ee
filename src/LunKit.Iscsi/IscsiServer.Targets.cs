using LunKit.Iscsi.Login;
using LunKit.Iscsi.Sessions;
using LunKit.LogicalUnits;
using LunKit.Targets;

namespace LunKit.Iscsi;

/// <summary>The targets, which may change while they are served.</summary>
public sealed partial class IscsiServer
{
    private readonly Dictionary<string, Alua> _alua = new(StringComparer.OrdinalIgnoreCase);
    private volatile IReadOnlyDictionary<string, Target> _byName = new Dictionary<string, Target>();

    internal IEnumerable<Target> Targets => _byName.Values;

    Target? ITargetDirectory.Find(string name) => _byName.GetValueOrDefault(name);

    /// <summary>
    /// Puts a target in place of the one with its name, or adds it. Sessions go on: their LUNs change as the new definition says, with
    /// the unit attentions that tell so; those of initiators that it no longer admits end. What left the target is not disposed.
    /// </summary>
    public void SetTarget(Target target)
    {
        lock (_gate)
        {
            Adopt(target);
            _byName = _byName.Values.Where(t => !IsNamed(t, target.Name)).Append(target).ToDictionary(t => t.Name, StringComparer.OrdinalIgnoreCase);
            foreach (var session in Sessions.Of(target.Name))
            {
                session.Target = target;
                if (target.Admit(session.Parameters.InitiatorName) is { } acl) session.Nexus.Change(target.LunsOf(acl));
                else session.Close("the initiator is no longer admitted");
                foreach (var connection in session.Connections) connection.Wake();
            }
        }
    }

    /// <summary>Takes a target away and ends its sessions; false when there is none of that name. Its units are not disposed.</summary>
    public bool RemoveTarget(string name)
    {
        lock (_gate)
        {
            if (!_byName.ContainsKey(name)) return false;
            _byName = _byName.Values.Where(t => !IsNamed(t, name)).ToDictionary(t => t.Name, StringComparer.OrdinalIgnoreCase);
            _alua.Remove(name);
            foreach (var session in Sessions.Of(name)) session.Close("the target was removed");
            return true;
        }
    }

    private static bool IsNamed(Target target, string name) => string.Equals(target.Name, name, StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// All units of a target share its ports: one ALUA object for them. When its kind changes, the states begin anew, for nobody could set
    /// them back.
    /// </summary>
    private void Adopt(Target target)
    {
        if (!_alua.TryGetValue(target.Name, out var shared) || shared.IsExplicit != target.ExplicitAlua)
        {
            int[] groups = [.. Options.Portals.Select(p => p.GroupTag).Distinct().Order()];
            _alua[target.Name] = shared = new Alua(groups.Select(g => (g, new[] { g }))) { AccessTypes = target.ExplicitAlua ? 3 : 1 };
        }
        foreach (var unit in target.Luns.Values) unit.Alua = shared;
        shared.Units = [.. target.Luns.Values.Distinct()];
    }
}
