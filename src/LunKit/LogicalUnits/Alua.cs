using LunKit.Backstores;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.LogicalUnits;

/// <summary>Asymmetric access states of SPC-5 5.18.2.</summary>
internal enum AccessState : byte
{
    ActiveOptimized = 0, ActiveNonOptimized = 1, Standby = 2, Unavailable = 3, Offline = 0xE, Transitioning = 0xF,
}

/// <summary>A target port group (SPC-5 6.36).</summary>
/// <param name="Group">Its number.</param>
/// <param name="State">Its state.</param>
/// <param name="Status">Why it is in that state: 0 not said, 1 by SET TARGET PORT GROUPS, 2 implicitly.</param>
/// <param name="Ports">Relative identifiers of its ports.</param>
internal sealed record AccessGroup(int Group, AccessState State, byte Status, int[] Ports)
{
    /// <summary>States that it may be in, as the bits of REPORT TARGET PORT GROUPS: T, U, S, AN, AO.</summary>
    public byte Supported { get; init; } = 0x8F;

    /// <summary>Initiators should prefer it.</summary>
    public bool IsPreferred { get; init; }
}

/// <summary>
/// The target ports through which a unit is reached, in groups, and the access states of the groups: each unit's own, as with the kernel's target.
/// Thread safe.
/// </summary>
internal sealed class Alua
{
    private readonly Lock _gate = new();
    private readonly SortedDictionary<int, AccessGroup> _groups = [];
    private readonly Func<IReadOnlyList<AccessGroup>>? _keeper;
    private readonly FileWorkers? _workers;
    private volatile bool _allActive = true;

    // By target device, once there is one; the groups follow from them.
    private readonly Dictionary<string, Device> _devices = [];
    private bool _hasDevices;

    /// <summary>The ports of a target device, and whether initiators that come through them may set states.</summary>
    private sealed record Device(IReadOnlyList<TargetPort> Ports, bool IsExplicit);

    // TPGS of INQUIRY (SPC-5 6.6.2).
    private const int Implicit = 1;
    public const int Explicit = 2;

    /// <summary>One group, 0, with port 1, active/optimized: a unit that nobody configured otherwise.</summary>
    public static Alua AllActive => new([(0, new[] { 1 })]);

    /// <summary>For a unit whose fabric keeps the states itself, and does not tell its ports apart.</summary>
    public static Alua Elsewhere => new([(0, [])]) { AccessTypes = 0 };

    public Alua(IEnumerable<(int Group, int[] Ports)> groups)
    {
        foreach (var (group, ports) in groups) _groups[group] = new(group, AccessState.ActiveOptimized, 0, ports);
    }

    /// <summary>For a unit whose fabric keeps the states, heeds them, and tells them when it is asked: an <see cref="IOException"/> when it cannot.</summary>
    public Alua(Func<IReadOnlyList<AccessGroup>> keeper)
    {
        _keeper = keeper;
        _workers = new FileWorkers();
        Replace(keeper());
    }

    /// <summary>
    /// TPGS of INQUIRY (SPC-5 6.6.2): 1 implicit, 2 explicit, 3 both; 0 where the kernel has the states. Initiators may set the states
    /// (explicit) only where the operator allows it: one that does takes a port away from all others.
    /// </summary>
    public int AccessTypes { get; init; } = Implicit;

    /// <summary>The same as an initiator sees it that comes through a port.</summary>
    public int AccessTypesAt(TargetPort port)
    {
        lock (_gate) return !_hasDevices ? AccessTypes : _devices.TryGetValue(port.DeviceName, out var device) && device.IsExplicit ? Implicit | Explicit : Implicit;
    }

    /// <summary>Whether SET TARGET PORT GROUPS is allowed through any port.</summary>
    public bool IsExplicit
    {
        get
        {
            lock (_gate) return _hasDevices ? _devices.Values.Any(d => d.IsExplicit) : (AccessTypes & Explicit) != 0;
        }
    }

    /// <summary>Ports of all groups.</summary>
    public int PortCount
    {
        get
        {
            lock (_gate) return _groups.Values.Sum(g => g.Ports.Length);
        }
    }

    /// <summary>The only port that there is, where the fabric does not say by which one a command came; else null.</summary>
    public (int Group, int Port)? OnlyPort
    {
        get
        {
            lock (_gate)
            {
                var ports = _groups.Values.SelectMany(g => g.Ports.Select(p => (g.Group, p))).Take(2).ToList();
                return ports.Count == 1 ? ports[0] : null;
            }
        }
    }

    /// <summary>No group is in a state that refuses commands.</summary>
    public bool IsAllActive => _allActive;

    /// <summary>Groups by number.</summary>
    public IReadOnlyList<AccessGroup> Groups
    {
        get
        {
            lock (_gate) return [.. _groups.Values];
        }
    }

    /// <summary>Asks whoever keeps the states, off the caller's thread; what was known stays when he cannot be asked.</summary>
    public ValueTask RefreshAsync() => _keeper is null ? ValueTask.CompletedTask : _workers!.RunAsync(static a => a.Refresh(), this);

    private void Refresh()
    {
        try
        {
            Replace(_keeper!());
        }
        catch (IOException)
        {
            // It is being removed.
        }
    }

    private void Replace(IReadOnlyList<AccessGroup> groups)
    {
        lock (_gate)
        {
            _groups.Clear();
            foreach (var group in groups) _groups[group.Group] = group;
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
            _groups[group] = old with { State = state, Status = (byte)(explicitly ? 1 : 2) };
            NoteStates();
            return old.State != state;
        }
    }

    private void NoteStates() => _allActive = _groups.Values.All(g => g.State is AccessState.ActiveOptimized or AccessState.ActiveNonOptimized);

    /// <summary>
    /// The ports of a target device are these from here on; none: it has the unit no more. Groups that go on keep their states, but when
    /// nobody may set them any more they begin anew, for nobody could set them back: true when that has changed one.
    /// </summary>
    public bool SetPorts(string device, IReadOnlyList<TargetPort> ports, bool isExplicit)
    {
        lock (_gate)
        {
            bool wasExplicit = _devices.Values.Any(d => d.IsExplicit);
            if (ports.Count == 0) _devices.Remove(device);
            else _devices[device] = new Device(ports, isExplicit);
            _hasDevices = true;
            bool startsAnew = wasExplicit && !_devices.Values.Any(d => d.IsExplicit), changed = false;
            var before = _groups.ToDictionary();
            _groups.Clear();
            foreach (var members in _devices.Values.SelectMany(d => d.Ports).GroupBy(p => p.GroupId))
            {
                int[] numbers = [.. members.Select(p => p.RelativeId).Distinct().Order()];
                bool goesOn = before.TryGetValue(members.Key, out var old) && !startsAnew;
                changed |= startsAnew && old is { State: not AccessState.ActiveOptimized };
                _groups[members.Key] = goesOn ? old! with { Ports = numbers } : new(members.Key, AccessState.ActiveOptimized, 0, numbers);
            }
            NoteStates();
            return changed;
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
