using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>What a service action comes to: a refusal, or a table to put in force and whom to tell of it.</summary>
internal sealed class ReservationStep
{
    /// <summary>GOOD, and nothing changes.</summary>
    public static ReservationStep Unchanged { get; } = new() { Result = CommandResult.Good };

    public static ReservationStep Conflict { get; } = new() { Result = CommandResult.ReservationConflict };

    public CommandResult Result { get; private init; }

    /// <summary>The table to put in force; null when nothing changes.</summary>
    public ReservationTable? Next { get; private init; }

    /// <summary>Registrations that another nexus took away.</summary>
    public IReadOnlyList<Registration> Removed { get; init; } = [];

    /// <summary>Unit attentions to establish once the table is in force.</summary>
    public IReadOnlyList<(IReadOnlyList<Registration> Registrations, Sense Sense)> Attentions { get; init; } = [];

    public static ReservationStep Refuse(CommandResult result) => new() { Result = result };

    public static ReservationStep To(
        ReservationTable next, IReadOnlyList<Registration>? removed = null, params IReadOnlyList<(IReadOnlyList<Registration>, Sense)> attentions) =>
        new() { Next = next, Removed = removed ?? [], Attentions = attentions };
}

/// <summary>
/// Registrations and reservation of one logical unit at one moment, and what each service action makes of them (SPC-5 5.14). Immutable.
/// </summary>
internal sealed record ReservationTable(
    IReadOnlyList<Registration> Registrations, Registration? Holder, ReservationType Type, uint Generation, bool Aptpl)
{
    /// <summary>Registrations a unit can hold; more are refused with INSUFFICIENT REGISTRATION RESOURCES.</summary>
    public const int MaxRegistrations = 1024;

    public static ReservationTable Empty { get; } = new([], null, ReservationType.None, 0, false);

    public bool IsReserved => Type != ReservationType.None;

    public bool IsAllRegistrants => Type is ReservationType.WriteExclusiveAllRegistrants or ReservationType.ExclusiveAccessAllRegistrants;

    private bool IsRegistrantsOnly => Type is ReservationType.WriteExclusiveRegistrantsOnly or ReservationType.ExclusiveAccessRegistrantsOnly;

    private bool IsWriteExclusive => Type is ReservationType.WriteExclusive or ReservationType.WriteExclusiveRegistrantsOnly
        or ReservationType.WriteExclusiveAllRegistrants;

    public bool IsHolder(Registration? r) => r is not null && IsReserved && (IsAllRegistrants || Holder!.IsSameNexus(r));

    /// <summary>Whether the reservation lets a nexus do what it does not let every other do.</summary>
    private bool Favours(Registration? r) => IsHolder(r) || IsRegistrantsOnly && r is not null;

    public Registration? Of(Nexus nexus)
    {
        foreach (var r in Registrations)
            if (r.IsOf(nexus)) return r;
        return null;
    }

    /// <summary>Whether the reservation stops a command of this nexus.</summary>
    public bool Conflicts(Nexus nexus, bool isRead) => IsReserved && !(isRead && IsWriteExclusive) && !Favours(Of(nexus));

    /// <summary>Whether SPC-2's RESERVE and RELEASE are answered GOOD without effect (SPC-5 5.14.3, CRH = 1); null: no registrations.</summary>
    public bool? AcceptsReserve(Nexus nexus) => Registrations.Count == 0 ? null : Favours(Of(nexus));

    /// <summary>REGISTER and REGISTER AND IGNORE EXISTING KEY (SPC-5 5.14.7): also unregisters.</summary>
    public ReservationStep Register(Nexus by, RegisterRequest request)
    {
        var mine = Of(by);
        if (!request.IgnoresKey && (mine?.Key ?? 0) != request.Key) return ReservationStep.Conflict;
        if (mine is not null && request.Others.Count > 0) return ReservationStep.Refuse(CommandResult.InvalidParameterField(20, 3));
        List<Registration> own = [.. request.Ports.Select(p => Registration.Of(by, p, request.NewKey))];
        // With ALL_TG_PT the nexuses through the other ports are registered as if each had sent the command: by its own key.
        if (!request.IgnoresKey && own.Exists(o => Find(o) is { } r && r.Key != request.Key)) return ReservationStep.Conflict;
        if (request.NewKey == 0) return own.Exists(o => Find(o) is not null) ? Unregister(own, request.Aptpl) : ReservationStep.Unchanged;
        // A nexus that SPEC_I_PT names must not be registered yet (SPC-5 5.14.7.3).
        if (request.Others.Any(o => Find(o) is not null)) return ReservationStep.Conflict;
        var list = Registrations.ToList();
        foreach (var wanted in own.Concat(request.Others))
        {
            int at = list.FindIndex(r => r.IsSameNexus(wanted));
            if (at >= 0) list[at] = wanted;
            else list.Add(wanted);
            if (list.Count > MaxRegistrations) return ReservationStep.Refuse(CommandResult.CheckCondition(Sense.InsufficientRegistrationResources));
        }
        var holder = Holder is { } h ? list.First(r => r.IsSameNexus(h)) : null;
        return ReservationStep.To(this with { Registrations = list, Holder = holder, Aptpl = request.Aptpl, Generation = Generation + 1 });
    }

    private ReservationStep Unregister(List<Registration> own, bool aptpl)
    {
        var next = Without(r => own.Exists(o => o.IsSameNexus(r))) with { Aptpl = aptpl, Generation = Generation + 1 };
        bool releases = IsReserved && (IsAllRegistrants ? next.Registrations.Count == 0 : own.Exists(o => o.IsSameNexus(Holder!)));
        if (!releases) return ReservationStep.To(next);
        return IsRegistrantsOnly
            ? ReservationStep.To(next.Released(), null, (next.Registrations, Sense.ReservationsReleased))
            : ReservationStep.To(next.Released());
    }

    /// <summary>RESERVE (SPC-5 5.14.9).</summary>
    public ReservationStep Reserve(Nexus by, ulong key, ReservationType type)
    {
        if (Of(by) is not { } mine || mine.Key != key) return ReservationStep.Conflict;
        if (IsReserved) return IsHolder(mine) && Type == type ? ReservationStep.Unchanged : ReservationStep.Conflict;
        return ReservationStep.To(ReservedBy(mine, type));
    }

    /// <summary>RELEASE (SPC-5 5.14.11.2): scope and type matter to the holder only.</summary>
    public ReservationStep Release(Nexus by, ulong key, ReservationType type, int scope)
    {
        if (Of(by) is not { } mine || mine.Key != key) return ReservationStep.Conflict;
        if (!IsHolder(mine)) return ReservationStep.Unchanged;
        if (Type != type || scope != 0) return ReservationStep.Refuse(CommandResult.CheckCondition(Sense.InvalidReleaseOfPersistentReservation));
        return IsRegistrantsOnly || IsAllRegistrants
            ? ReservationStep.To(Released(), null, (Registrations, Sense.ReservationsReleased))
            : ReservationStep.To(Released());
    }

    /// <summary>CLEAR (SPC-5 5.14.11.6).</summary>
    public ReservationStep Clear(Nexus by, ulong key)
    {
        if (Of(by) is not { } mine || mine.Key != key) return ReservationStep.Conflict;
        var next = Without(_ => true).Released() with { Generation = Generation + 1 };
        return ReservationStep.To(next, Registrations, (Registrations, Sense.ReservationsPreempted));
    }

    /// <summary>
    /// PREEMPT and PREEMPT AND ABORT (SPC-5 5.14.11.4, 5.14.11.5). Scope and type are looked at only where the reservation is taken over;
    /// elsewhere the victims may include the asking nexus itself.
    /// </summary>
    public ReservationStep Preempt(Nexus by, ulong key, ulong victimKey, ReservationType type, int scope)
    {
        if (Of(by) is not { } mine || mine.Key != key) return ReservationStep.Conflict;
        bool takesOver = IsReserved && (IsAllRegistrants ? victimKey == 0 : Holder!.Key == victimKey);
        if (!takesOver) return victimKey == 0 ? ReservationStep.Refuse(CommandResult.InvalidParameterField(8)) : Remove(victimKey);
        if (scope != 0) return ReservationStep.Refuse(CommandResult.InvalidCdbField(2, 7));
        if (!IsType(type)) return ReservationStep.Refuse(CommandResult.InvalidCdbField(2, 3));
        bool IsVictim(Registration r) => !r.IsSameNexus(mine) && (victimKey == 0 || r.Key == victimKey);
        List<Registration> removed = [.. Registrations.Where(IsVictim)];
        var next = Without(IsVictim).ReservedBy(mine, type) with { Generation = Generation + 1 };
        return Type == type
            ? ReservationStep.To(next, removed, (removed, Sense.RegistrationsPreempted))
            : ReservationStep.To(next, removed, (removed, Sense.RegistrationsPreempted), (next.Registrations, Sense.ReservationsReleased));
    }

    private ReservationStep Remove(ulong victimKey)
    {
        List<Registration> removed = [.. Registrations.Where(r => r.Key == victimKey)];
        if (removed.Count == 0) return ReservationStep.Conflict;
        var next = Without(r => r.Key == victimKey) with { Generation = Generation + 1 };
        // A reservation of all registrants ends with the last of them.
        if (IsAllRegistrants && next.Registrations.Count == 0) next = next.Released();
        return ReservationStep.To(next, removed, (removed, Sense.RegistrationsPreempted));
    }

    /// <summary>REGISTER AND MOVE (SPC-5 5.14.8).</summary>
    public ReservationStep RegisterAndMove(Nexus by, ulong key, bool unregister, bool aptpl, Registration target)
    {
        if (Of(by) is not { } mine || mine.Key != key) return ReservationStep.Conflict;
        if (IsAllRegistrants || !IsHolder(mine)) return ReservationStep.Conflict;
        if (target.Key == 0) return ReservationStep.Refuse(CommandResult.InvalidParameterField(8));
        if (target.IsSameNexus(mine)) return ReservationStep.Refuse(CommandResult.InvalidParameterField(24));
        List<Registration> list = [.. Registrations.Where(r => !r.IsSameNexus(target) && !(unregister && r.IsSameNexus(mine))), target];
        if (list.Count > MaxRegistrations) return ReservationStep.Refuse(CommandResult.CheckCondition(Sense.InsufficientRegistrationResources));
        return ReservationStep.To(this with { Registrations = list, Holder = target, Aptpl = aptpl, Generation = Generation + 1 });
    }

    /// <summary>Whether the standard defines the type.</summary>
    public static bool IsType(ReservationType type) => type != ReservationType.None && Enum.IsDefined(type);

    private Registration? Find(Registration like) => Registrations.FirstOrDefault(r => r.IsSameNexus(like));

    private ReservationTable Without(Func<Registration, bool> gone) => this with { Registrations = [.. Registrations.Where(r => !gone(r))] };

    private ReservationTable Released() => this with { Holder = null, Type = ReservationType.None };

    private ReservationTable ReservedBy(Registration mine, ReservationType type)
    {
        var next = this with { Type = type };
        return next with { Holder = next.IsAllRegistrants ? null : mine };
    }

    /// <summary>What is saved of the table.</summary>
    public ReservationState Save() => new()
    {
        Registrations = [.. Registrations.Select(r => new RegistrationState
        {
            InitiatorPort = r.InitiatorPort, TransportId = Convert.ToHexString(r.TransportId), TargetPort = r.TargetPort, Key = r.Key,
        })],
        Type = (int)Type,
        Holder = Holder is { } h ? Registrations.ToList().FindIndex(r => r.IsSameNexus(h)) : -1,
    };

    /// <summary>
    /// The table that was saved. Names that an older version saved as the initiator spelt them are put into their normal form; where two
    /// become one, the holder's stays.
    /// </summary>
    public static ReservationTable Restore(ReservationState? saved)
    {
        if (saved is null) return Empty;
        List<Registration> list = [];
        Registration? holder = null;
        for (int i = 0; i < saved.Registrations.Count; i++)
        {
            var s = saved.Registrations[i];
            string port = TransportIds.Normalize(s.InitiatorPort);
            var r = new Registration(port, TransportIds.Normalize(port, Convert.FromHexString(s.TransportId)), s.TargetPort, s.Key);
            int at = list.FindIndex(other => other.IsSameNexus(r));
            if (at < 0) list.Add(r);
            else if (i == saved.Holder) list[at] = r;
            if (i == saved.Holder) holder = r;
        }
        var table = new ReservationTable(list, holder, (ReservationType)saved.Type, 0, true);
        return table is { IsReserved: true, IsAllRegistrants: false, Holder: null } ? table.Released() : table;
    }
}
