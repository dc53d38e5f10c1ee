using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>Persistent reservation types (SPC-5 table 71).</summary>
internal enum ReservationType : byte
{
    None = 0, WriteExclusive = 1, ExclusiveAccess = 3, WriteExclusiveRegistrantsOnly = 5, ExclusiveAccessRegistrantsOnly = 6,
    WriteExclusiveAllRegistrants = 7, ExclusiveAccessAllRegistrants = 8,
}

/// <summary>A registered I_T nexus and its key. The identity is the initiator port with the target port.</summary>
internal sealed record Registration(string InitiatorPort, byte[] TransportId, int TargetPort, ulong Key)
{
    public bool IsOf(Nexus nexus) => InitiatorPort == nexus.InitiatorPort && TargetPort == nexus.TargetPort.RelativeId;
    public bool IsSameNexus(Registration other) => InitiatorPort == other.InitiatorPort && TargetPort == other.TargetPort;
}

/// <summary>
/// Persistent reservations of one logical unit (SPC-5 5.14): registrations, the reservation, who conflicts with it. Each service
/// action is one change of an immutable table, saved before it takes effect when APTPL is active. Thread safe.
/// </summary>
internal sealed class PersistentReservations
{
    /// <summary>Registrations a unit can hold; more are refused with INSUFFICIENT REGISTRATION RESOURCES.</summary>
    public const int MaxRegistrations = 1024;

    private sealed record Table(IReadOnlyList<Registration> Registrations, Registration? Holder, ReservationType Type, uint Generation, bool Aptpl)
    {
        public bool IsAllRegistrants => Type is ReservationType.WriteExclusiveAllRegistrants or ReservationType.ExclusiveAccessAllRegistrants;
        public bool IsRegistrantsOnly => Type is ReservationType.WriteExclusiveRegistrantsOnly or ReservationType.ExclusiveAccessRegistrantsOnly;
        public Registration? Of(Nexus nexus) => Registrations.FirstOrDefault(r => r.IsOf(nexus));
        public bool IsHolder(Registration? r) => r is not null && Type != ReservationType.None && (IsAllRegistrants || Holder!.IsSameNexus(r));
        public Table Without(Func<Registration, bool> gone) => this with { Registrations = [.. Registrations.Where(r => !gone(r))] };
        public Table Released() => this with { Holder = null, Type = ReservationType.None };
    }

    private readonly Lock _gate = new();
    private readonly LogicalUnit _unit;
    private readonly UnitMemory _memory;
    private volatile Table _table;

    public PersistentReservations(LogicalUnit unit, UnitMemory memory)
    {
        _unit = unit;
        _memory = memory;
        _table = Restore(memory.Read(s => s.Reservations));
    }

    public bool IsReserved => _table.Type != ReservationType.None;

    public uint Generation => _table.Generation;

    public bool IsAptplActive => _table.Aptpl;

    /// <summary>Type and the holder's key (0 for all registrants), or null.</summary>
    public (ReservationType Type, ulong Key)? Reservation => _table is { Type: not ReservationType.None } t ? (t.Type, t.Holder?.Key ?? 0) : null;

    /// <summary>Registrations in order of registering, and whether each holds the reservation.</summary>
    public IReadOnlyList<(Registration Registration, bool Holds)> Registrations
    {
        get
        {
            var table = _table;
            return [.. table.Registrations.Select(r => (r, table.IsHolder(r)))];
        }
    }

    /// <summary>Whether the reservation stops a command of this nexus.</summary>
    public bool Conflicts(Nexus nexus, bool isRead)
    {
        var table = _table;
        if (table.Type == ReservationType.None) return false;
        var registration = table.Of(nexus);
        if (table.IsHolder(registration) || table.IsRegistrantsOnly && registration is not null) return false;
        bool stopsOnlyWrites = table.Type is ReservationType.WriteExclusive or ReservationType.WriteExclusiveRegistrantsOnly
            or ReservationType.WriteExclusiveAllRegistrants;
        return !(isRead && stopsOnlyWrites);
    }

    /// <summary>Whether SPC-2's RESERVE and RELEASE are answered GOOD without effect (SPC-5 5.14.3, CRH = 1); null: no registrations.</summary>
    public bool? AcceptsReserve(Nexus nexus)
    {
        var table = _table;
        if (table.Registrations.Count == 0) return null;
        var registration = table.Of(nexus);
        return table.IsHolder(registration) || table.IsRegistrantsOnly && registration is not null;
    }

    /// <summary>REGISTER (SPC-5 5.14.7): also unregisters. <paramref name="others"/> are what SPEC_I_PT names.</summary>
    public CommandResult Register(
        UnitNexus by, ulong key, ulong newKey, bool ignoreKey, bool aptpl, IReadOnlyList<int> ports, IReadOnlyList<Registration> others)
    {
        lock (_gate)
        {
            var table = _table;
            var mine = table.Of(by.Nexus);
            if (!ignoreKey && (mine?.Key ?? 0) != key) return CommandResult.ReservationConflict;
            if (mine is not null && others.Count > 0) return CommandResult.InvalidParameterField(20, 3);
            if (newKey == 0)
            {
                if (mine is null) return CommandResult.Good;
                return Commit(Unregister(table, by, mine) with { Aptpl = aptpl, Generation = table.Generation + 1 }, table);
            }
            var wanted = ports.Select(p => new Registration(by.Nexus.InitiatorPort, by.Nexus.TransportId, p, newKey))
                .Concat(others.Select(o => o with { Key = newKey })).ToList();
            // A nexus that SPEC_I_PT names must not be registered yet (SPC-5 5.14.7.3).
            if (others.Any(o => table.Registrations.Any(r => r.IsSameNexus(o)))) return CommandResult.ReservationConflict;
            var list = table.Registrations.ToList();
            foreach (var w in wanted)
            {
                int at = list.FindIndex(r => r.IsSameNexus(w));
                if (at >= 0) list[at] = w;
                else list.Add(w);
            }
            if (list.Count > MaxRegistrations) return CommandResult.CheckCondition(Sense.InsufficientRegistrationResources);
            var holder = table.Holder is { } h ? list.First(r => r.IsSameNexus(h)) : null;
            return Commit(table with { Registrations = list, Holder = holder, Aptpl = aptpl, Generation = table.Generation + 1 }, table);
        }
    }

    private Table Unregister(Table table, UnitNexus by, Registration mine)
    {
        bool released = table.IsHolder(mine) && (!table.IsAllRegistrants || table.Registrations.Count == 1);
        var next = table.Without(r => r.IsSameNexus(mine));
        if (!released) return next;
        if (table.IsRegistrantsOnly) Attend(next.Registrations, by, Sense.ReservationsReleased);
        return next.Released();
    }

    /// <summary>RESERVE (SPC-5 5.14.9).</summary>
    public CommandResult Reserve(UnitNexus by, ulong key, ReservationType type)
    {
        lock (_gate)
        {
            var table = _table;
            if (table.Of(by.Nexus) is not { } mine || mine.Key != key) return CommandResult.ReservationConflict;
            if (table.Type != ReservationType.None)
                return table.IsHolder(mine) && table.Type == type ? CommandResult.Good : CommandResult.ReservationConflict;
            var next = table with { Type = type };
            return Commit(next with { Holder = next.IsAllRegistrants ? null : mine }, table);
        }
    }

    /// <summary>RELEASE (SPC-5 5.14.11.2).</summary>
    public CommandResult Release(UnitNexus by, ulong key, ReservationType type, int scope)
    {
        lock (_gate)
        {
            var table = _table;
            if (table.Of(by.Nexus) is not { } mine || mine.Key != key) return CommandResult.ReservationConflict;
            if (!table.IsHolder(mine)) return CommandResult.Good;
            if (table.Type != type || scope != 0) return CommandResult.CheckCondition(Sense.InvalidReleaseOfPersistentReservation);
            if (table.IsRegistrantsOnly || table.IsAllRegistrants) Attend(table.Registrations, by, Sense.ReservationsReleased);
            return Commit(table.Released(), table);
        }
    }

    /// <summary>CLEAR (SPC-5 5.14.11.6).</summary>
    public CommandResult Clear(UnitNexus by, ulong key)
    {
        lock (_gate)
        {
            var table = _table;
            if (table.Of(by.Nexus) is not { } mine || mine.Key != key) return CommandResult.ReservationConflict;
            Attend(table.Registrations, by, Sense.ReservationsPreempted);
            return Commit(table.Without(_ => true).Released() with { Generation = table.Generation + 1 }, table);
        }
    }

    /// <summary>PREEMPT and PREEMPT AND ABORT (SPC-5 5.14.11.4, 5.14.11.5).</summary>
    public CommandResult Preempt(UnitNexus by, ulong key, ulong victimKey, ReservationType type, bool abort)
    {
        List<Registration> removed;
        CommandResult result;
        lock (_gate)
        {
            var table = _table;
            if (table.Of(by.Nexus) is not { } mine || mine.Key != key) return CommandResult.ReservationConflict;
            bool reserved = table.Type != ReservationType.None;
            bool takesOver = reserved && (table.IsAllRegistrants ? victimKey == 0 : table.Holder!.Key == victimKey);
            if (!takesOver && victimKey == 0) return CommandResult.InvalidParameterField(8);
            bool IsVictim(Registration r) => !r.IsSameNexus(mine) && (victimKey == 0 || r.Key == victimKey);
            removed = [.. table.Registrations.Where(IsVictim)];
            if (!takesOver && removed.Count == 0 && mine.Key != victimKey) return CommandResult.ReservationConflict;
            var next = table.Without(IsVictim) with { Generation = table.Generation + 1 };
            if (takesOver)
            {
                next = next with { Type = type };
                next = next with { Holder = next.IsAllRegistrants ? null : mine };
                if (table.Type != type) Attend(next.Registrations, by, Sense.ReservationsReleased);
            }
            Attend(removed, by, Sense.RegistrationsPreempted);
            result = Commit(next, table);
        }
        if (abort && result.Status == ScsiStatus.Good)
            _unit.Tasks.Abort(c => c.UnitNexus != by && removed.Exists(r => r.IsOf(c.Nexus)), _ => false);
        return result;
    }

    /// <summary>REGISTER AND MOVE (SPC-5 5.14.8).</summary>
    public CommandResult RegisterAndMove(UnitNexus by, ulong key, bool unregister, bool aptpl, Registration target)
    {
        lock (_gate)
        {
            var table = _table;
            if (table.Of(by.Nexus) is not { } mine || mine.Key != key) return CommandResult.ReservationConflict;
            if (table.IsAllRegistrants || !table.IsHolder(mine)) return CommandResult.ReservationConflict;
            if (target.Key == 0) return CommandResult.InvalidParameterField(8);
            if (target.IsSameNexus(mine)) return CommandResult.InvalidParameterField(24);
            var list = table.Registrations.Where(r => !r.IsSameNexus(target) && !(unregister && r.IsSameNexus(mine))).Append(target).ToList();
            if (list.Count > MaxRegistrations) return CommandResult.CheckCondition(Sense.InsufficientRegistrationResources);
            return Commit(table with { Registrations = list, Holder = target, Aptpl = aptpl, Generation = table.Generation + 1 }, table);
        }
    }

    /// <summary>Saves if need be, then puts the new table in force. An exception of the store leaves the old one.</summary>
    private CommandResult Commit(Table next, Table old)
    {
        if (next.Aptpl || old.Aptpl) _memory.Update(s => s.Reservations = next.Aptpl ? Save(next) : null);
        _table = next;
        return CommandResult.Good;
    }

    private void Attend(IReadOnlyList<Registration> registrations, UnitNexus except, Sense sense)
    {
        foreach (var nexus in _unit.Nexuses)
            if (nexus != except && registrations.Any(r => r.IsOf(nexus.Nexus))) nexus.Attend(sense);
    }

    private static ReservationState Save(Table table) => new()
    {
        Registrations = [.. table.Registrations.Select(r => new RegistrationState
        {
            InitiatorPort = r.InitiatorPort, TransportId = Convert.ToHexString(r.TransportId), TargetPort = r.TargetPort, Key = r.Key,
        })],
        Type = (int)table.Type,
        Holder = table.Holder is { } h ? table.Registrations.ToList().FindIndex(r => r.IsSameNexus(h)) : -1,
    };

    private static Table Restore(ReservationState? saved)
    {
        if (saved is null) return new Table([], null, ReservationType.None, 0, false);
        List<Registration> list = [.. saved.Registrations.Select(r =>
            new Registration(r.InitiatorPort, Convert.FromHexString(r.TransportId), r.TargetPort, r.Key))];
        var holder = saved.Holder >= 0 && saved.Holder < list.Count ? list[saved.Holder] : null;
        var table = new Table(list, holder, (ReservationType)saved.Type, 0, true);
        return table is { Type: not ReservationType.None, IsAllRegistrants: false, Holder: null } ? table.Released() : table;
    }
}
