using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>The commands of a device type: rows by opcode and service action. Immutable.</summary>
internal sealed class CommandTable
{
    private readonly CommandDescriptor?[] _byOpcode = new CommandDescriptor?[256];
    private readonly Dictionary<int, CommandDescriptor>?[] _byServiceAction = new Dictionary<int, CommandDescriptor>?[256];

    public CommandTable(IEnumerable<CommandDescriptor> rows)
    {
        Rows = [.. rows.OrderBy(r => r.Usage[0]).ThenBy(r => r.ServiceAction)];
        foreach (var row in Rows)
        {
            byte opcode = row.Usage[0];
            if (row.ServiceAction < 0) _byOpcode[opcode] = row;
            else (_byServiceAction[opcode] ??= []).Add(row.ServiceAction, row);
        }
    }

    /// <summary>All rows, by opcode and service action.</summary>
    public IReadOnlyList<CommandDescriptor> Rows { get; }

    /// <summary>The row of a CDB, or null.</summary>
    public CommandDescriptor? Find(ReadOnlySpan<byte> cdb)
    {
        if (cdb.IsEmpty) return null;
        byte opcode = cdb[0];
        return _byOpcode[opcode] ?? (_byServiceAction[opcode] is null ? null : Find(opcode, ServiceActionOf(cdb)));
    }

    public CommandDescriptor? Find(byte opcode, int serviceAction) =>
        _byOpcode[opcode] ?? _byServiceAction[opcode]?.GetValueOrDefault(serviceAction);

    public bool IsKnown(byte opcode) => _byOpcode[opcode] is not null || _byServiceAction[opcode] is not null;

    public bool HasServiceActions(byte opcode) => _byServiceAction[opcode] is not null;

    /// <summary>The answer to a CDB that has no row: the field that is not known is the opcode, or the service action (SPC-5 4.4.2.4).</summary>
    public CommandResult Unknown(ReadOnlySpan<byte> cdb)
    {
        if (cdb.IsEmpty || !IsKnown(cdb[0])) return CommandResult.CheckCondition(Sense.InvalidOpcode);
        return cdb[0] == (byte)Opcode.VariableLength ? CommandResult.InvalidCdbField(8) : CommandResult.InvalidCdbField(1, 4);
    }

    /// <summary>Where a CDB says its service action: byte 1, or bytes 8 and 9 of a variable length CDB.</summary>
    private static int ServiceActionOf(ReadOnlySpan<byte> cdb) => cdb[0] != (byte)Opcode.VariableLength
        ? cdb.Length > 1 ? cdb[1] & 0x1F : -1
        : cdb.Length >= 10 ? BinaryPrimitives.ReadUInt16BigEndian(cdb[8..]) : -1;
}
