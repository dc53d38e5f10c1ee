namespace LunKit.LogicalUnits;

/// <summary>
/// Keeps what a unit must remember over restarts and power loss: identity, persistent reservations with APTPL, saved mode pages,
/// identifying information, a sanitize or format that did not end. <see cref="Save"/> returns when the state is durable, or throws.
/// Called rarely, by one thread at a time; a durable store mostly on a thread that serves no connection.
/// </summary>
public interface IUnitStateStore
{
    /// <summary>
    /// Whether a saved state is there after a restart and after a power loss. Where it is not, the unit refuses to activate persistence through
    /// power loss (APTPL).
    /// </summary>
    bool IsDurable { get; }

    /// <summary>The state last saved; a fresh one when there is none.</summary>
    UnitState Load();

    /// <summary>Replaces the saved state, all or nothing.</summary>
    void Save(UnitState state);
}

/// <summary>What a unit remembers. Mutable only while it is being prepared.</summary>
public sealed class UnitState
{
    /// <summary>The unit's identity.</summary>
    public Guid Id { get; set; }

    /// <summary>Saved mode pages: hex of the page, by hex of page and subpage code.</summary>
    public Dictionary<string, string> ModePages { get; set; } = [];

    /// <summary>
    /// Mode pages whose current values are not the saved ones, likewise: for the process that serves the unit next while initiators know nothing of the
    /// change (<see cref="UnitSuccession"/>). Empty after a reset.
    /// </summary>
    public Dictionary<string, string> CurrentModePages { get; set; } = [];

    /// <summary><see cref="UnitSuccession.Epoch"/> in which they hold; null: none was kept yet.</summary>
    public ulong? ModePagesEpoch { get; set; }

    /// <summary>Identifying information by type (SPC-5 6.32).</summary>
    public Dictionary<int, string> IdentifyingInformation { get; set; } = [];

    /// <summary>Registrations and reservation, when APTPL is active.</summary>
    public ReservationState? Reservations { get; set; }

    /// <summary>Operation of a sanitize that has not ended well, or null.</summary>
    public string? Sanitize { get; set; }

    /// <summary>Whether the pending sanitize may be left by EXIT FAILURE MODE.</summary>
    public bool SanitizeMayExit { get; set; }

    /// <summary>Whether a FORMAT UNIT has begun and has not ended well.</summary>
    public bool Format { get; set; }

    internal UnitState Clone() => new()
    {
        Id = Id,
        ModePages = new(ModePages),
        CurrentModePages = new(CurrentModePages),
        ModePagesEpoch = ModePagesEpoch,
        IdentifyingInformation = new(IdentifyingInformation),
        Reservations = Reservations,
        Sanitize = Sanitize,
        SanitizeMayExit = SanitizeMayExit,
        Format = Format,
    };
}

/// <summary>Persistent reservation state of a unit (SPC-5 5.14.5).</summary>
public sealed class ReservationState
{
    /// <summary>PRgeneration does not persist (SPC-5 5.14.5.1); registrations do.</summary>
    public List<RegistrationState> Registrations { get; set; } = [];

    /// <summary>Reservation type, 0 for none.</summary>
    public int Type { get; set; }

    /// <summary>Index of the holder in <see cref="Registrations"/>, -1 for none or all registrants.</summary>
    public int Holder { get; set; } = -1;
}

/// <summary>One registration.</summary>
public sealed class RegistrationState
{
    /// <summary>Initiator port name.</summary>
    public string InitiatorPort { get; set; } = "";

    /// <summary>TransportID, hex.</summary>
    public string TransportId { get; set; } = "";

    /// <summary>Relative target port identifier.</summary>
    public int TargetPort { get; set; }

    /// <summary>Reservation key.</summary>
    public ulong Key { get; set; }
}

/// <summary>A store for units without a place to keep anything: the state lasts as long as the process.</summary>
public sealed class VolatileUnitState(Guid id) : IUnitStateStore
{
    private UnitState _state = new() { Id = id };

    /// <inheritdoc/>
    public bool IsDurable => false;

    /// <inheritdoc/>
    public UnitState Load() => _state;

    /// <inheritdoc/>
    public void Save(UnitState state) => _state = state;
}
