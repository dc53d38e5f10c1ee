using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>Asymmetric access states of SPC-5 5.18.2.</summary>
internal enum AccessState : byte
{
    ActiveOptimized = 0, ActiveNonOptimized = 1, Standby = 2, Unavailable = 3, Offline = 0xE, Transitioning = 0xF,
}

/// <summary>
/// The access states of a unit's target port groups. Immutable but for the states; one object serves all units that share
/// their ports. Thread safe.
/// </summary>
internal sealed class Alua
{
    private readonly Lock _gate = new();
    private readonly SortedDictionary<int, (AccessState State, int[] Ports, byte Status)> _groups = [];
    private volatile bool _allActive = true;

    /// <summary>One group, 0, with port 1, active/optimized: a unit that nobody configured otherwise.</summary>
    public static Alua AllActive => new([(0, new[] { 1 })]);

    /// <summary>For a unit whose fabric keeps the states itself, and does not tell its ports apart.</summary>
    public static Alua Elsewhere => new([(0, [])]) { AccessTypes = 0 };

    public Alua(IEnumerable<(int Group, int[] Ports)> groups)
    {
        foreach (var (group, ports) in groups) _groups[group] = (AccessState.ActiveOptimized, ports, 0);
    }

    /// <summary>
    /// TPGS of INQUIRY (SPC-5 6.6.2): 1 implicit, 2 explicit, 3 both; 0 where somebody else, such as the kernel, has the states.
    /// </summary>
    public int AccessTypes { get; init; } = 3;

    /// <summary>No group is in a state that refuses commands.</summary>
    public bool IsAllActive => _allActive;

    /// <summary>Groups in order: id, state, status code (0 none, 1 by SET TARGET PORT GROUPS, 2 implicit), relative port ids.</summary>
    public IReadOnlyList<(int Group, AccessState State, byte Status, int[] Ports)> Groups
    {
        get
        {
            lock (_gate) return [.. _groups.Select(g => (g.Key, g.Value.State, g.Value.Status, g.Value.Ports))];
        }
    }

    public bool Contains(int group)
    {
        lock (_gate) return _groups.ContainsKey(group);
    }

    /// <summary>Changes a group's state; true when it was another before.</summary>
    public bool Set(int group, AccessState state, bool explicitly)
    {
        lock (_gate)
        {
            var old = _groups[group];
            _groups[group] = (state, old.Ports, (byte)(explicitly ? 1 : 2));
            _allActive = _groups.Values.All(g => g.State is AccessState.ActiveOptimized or AccessState.ActiveNonOptimized);
            return old.State != state;
        }
    }

    /// <summary>The sense with which the port's group refuses a command in its state (SPC-5 5.18.2.5), or null.</summary>
    public Sense? Refuses(UnitNexus nexus, CommandDescriptor row)
    {
        AccessState state;
        lock (_gate) state = _groups.TryGetValue(nexus.Nexus.TargetPort.GroupId, out var group) ? group.State : AccessState.ActiveOptimized;
        return state switch
        {
            AccessState.ActiveOptimized or AccessState.ActiveNonOptimized => null,
            _ when row.Has(CommandTraits.AnyAccessState) => null,
            AccessState.Standby => Sense.TargetPortStandby,
            AccessState.Transitioning => Sense.TargetPortInTransition,
            _ => Sense.TargetPortUnavailable,
        };
    }
}
