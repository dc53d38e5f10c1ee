using System.Runtime.CompilerServices;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// The answer to one command: status, sense, and how many bytes the command produced for the initiator. What the initiator did
/// wrong is such a value, never an exception.
/// </summary>
public readonly struct CommandResult
{
    private readonly SenseDetail _detail;

    private CommandResult(ScsiStatus status, int dataInLength, SenseDetail detail = default)
    {
        Status = status;
        DataInLength = dataInLength;
        _detail = detail;
    }

    /// <summary>GOOD without data to the initiator.</summary>
    public static CommandResult Good => default;

    /// <summary>CONDITION MET, the good answer of PRE-FETCH when everything fits (SBC-4 5.10).</summary>
    public static CommandResult ConditionMet => new(ScsiStatus.ConditionMet, 0);

    /// <summary>RESERVATION CONFLICT, which has no sense data.</summary>
    public static CommandResult ReservationConflict => new(ScsiStatus.ReservationConflict, 0);

    /// <summary>BUSY: the initiator tries again later.</summary>
    public static CommandResult Busy => new(ScsiStatus.Busy, 0);

    /// <summary>TASK SET FULL: there is no room for another command of this initiator now.</summary>
    public static CommandResult TaskSetFull => new(ScsiStatus.TaskSetFull, 0);

    /// <summary>TASK ABORTED: another nexus's task management function ended the command (TAS = 1).</summary>
    public static CommandResult TaskAborted => new(ScsiStatus.TaskAborted, 0);

    /// <summary>GOOD, with <paramref name="length"/> bytes in the buffer that the command rented for its data.</summary>
    public static CommandResult Data(int length) => new(ScsiStatus.Good, length);

    /// <summary>CHECK CONDITION with a sense and nothing else.</summary>
    public static CommandResult CheckCondition(Sense sense) => new(ScsiStatus.CheckCondition, 0, new SenseDetail(sense));

    /// <summary>CHECK CONDITION with an INFORMATION field.</summary>
    public static CommandResult CheckCondition(Sense sense, ulong information) =>
        new(ScsiStatus.CheckCondition, 0, new SenseDetail(sense) { Information = information, HasInformation = true });

    /// <summary>INVALID FIELD IN CDB, pointing at the byte (and bit).</summary>
    public static CommandResult InvalidCdbField(int byteIndex, int bit = -1) => new(ScsiStatus.CheckCondition, 0,
        new SenseDetail(Sense.InvalidFieldInCdb) { KeySpecific = SenseDetail.FieldPointer(true, byteIndex, bit) });

    /// <summary>INVALID FIELD IN PARAMETER LIST, pointing at the byte (and bit).</summary>
    public static CommandResult InvalidParameterField(int byteIndex, int bit = -1) => new(ScsiStatus.CheckCondition, 0,
        new SenseDetail(Sense.InvalidFieldInParameterList) { KeySpecific = SenseDetail.FieldPointer(false, byteIndex, bit) });

    /// <summary>
    /// What another device server answered, to be handed on as it is: for units that ask a device, or another target, and for raw handlers that make
    /// sense data of their own.
    /// </summary>
    /// <param name="status">Its status.</param>
    /// <param name="dataInLength">
    /// Bytes for the initiator in the buffer that the command rented; a CHECK CONDITION may have some, as a short block of a tape.
    /// </param>
    /// <param name="sense">
    /// Its sense data in either format (SPC-5 4.5), which only CHECK CONDITION has: what is longer than 96 bytes is cut, and a CHECK CONDITION with
    /// fewer than 8 bytes, or with a response code that is not 70h to 73h, becomes NOT READY, LOGICAL UNIT COMMUNICATION FAILURE.
    /// </param>
    public static CommandResult Relayed(ScsiStatus status, int dataInLength, ReadOnlySpan<byte> sense)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(dataInLength);
        if (status != ScsiStatus.CheckCondition) return new(status, dataInLength);
        if (sense.Length < SenseData.MinLength || (sense[0] & 0x7F) is < 0x70 or > 0x73) return CheckCondition(Sense.LogicalUnitCommunicationFailure);
        // The fields that are looked at here may lie behind a short one's end.
        Span<byte> all = stackalloc byte[SenseData.MaxLength];
        all.Clear();
        sense[..Math.Min(sense.Length, all.Length)].CopyTo(all);
        return new(status, dataInLength, new SenseDetail(SenseData.Parse(all))
        {
            Raw = all[..SenseData.LengthOf(all)].ToArray(), Information = SenseData.Information(all) ?? 0, HasInformation = SenseData.Information(all) is not null,
        });
    }

    internal static CommandResult CheckCondition(SenseDetail detail) => new(ScsiStatus.CheckCondition, 0, detail);

    /// <summary>SAM-6 5.3.1.</summary>
    public ScsiStatus Status { get; }

    /// <summary>Bytes for the initiator, already cut to the allocation length; a relayed CHECK CONDITION may have some, as a short block of a tape.</summary>
    public int DataInLength { get; }

    /// <summary>The sense of a CHECK CONDITION.</summary>
    public Sense Sense => _detail.Sense;

    internal ref readonly SenseDetail Detail => ref Unsafe.AsRef(in _detail);

    /// <inheritdoc/>
    public override string ToString() => Status == ScsiStatus.CheckCondition ? $"CheckCondition {Sense}" : $"{Status} {DataInLength}";
}
