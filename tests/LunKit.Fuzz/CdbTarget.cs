using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Fuzz;

/// <summary>
/// Any CDB with any data: input is the CDB's length, the CDB, the data. Every command ends, and what the unit answers fits what it
/// rented. A fault of the unit itself (HARDWARE ERROR, INTERNAL TARGET FAILURE) is a finding.
/// </summary>
internal sealed class CdbTarget : FuzzTarget
{
    private sealed class Command : ScsiCommand
    {
        public int Rented { get; private set; }

        public void Prepare(UnitNexus nexus, ReadOnlySpan<byte> cdb, byte[] data)
        {
            Reset(cdb);
            Nexus = nexus.Nexus;
            UnitNexus = nexus;
            Attribute = TaskAttribute.Simple;
            DataOut = new DataBuffer(data);
            DataOutBufferSize = data.Length;
            Rented = 0;
        }

        public override DataBuffer RentDataIn(int length)
        {
            Rented = length;
            return new DataBuffer(new byte[length]);
        }
    }

    private readonly BlockUnit _unit = new(new MemoryBackstore(1 << 20), "fuzz", new VolatileUnitState(UnitIdentity.IdOf("fuzz")));
    private readonly Nexus _nexus = new("iqn.fuzz", "iqn.fuzz,i,0x1", new byte[24], new TargetPort("iqn.t,t,0x1", 1, 0, "iqn.t"));

    public CdbTarget() : base("cdb") => _nexus.Open([KeyValuePair.Create(0, (LogicalUnit)_unit)]);

    public override void Run(byte[] input)
    {
        if (input.Length < 2) return;
        int length = Math.Clamp((int)input[0], 1, Math.Min(ScsiCommand.MaxCdbLength, input.Length - 1));
        var cdb = input.AsSpan(1, length);
        var rest = input.AsSpan(1 + length);
        long wanted = _unit.DataOutLength(cdb, rest.Length);
        var command = new Command();
        command.Prepare(_nexus.Luns.Find(0)!, cdb, rest[..(int)Math.Min(wanted, rest.Length)].ToArray());
        var running = _unit.ExecuteAsync(command).AsTask();
        if (!running.Wait(TimeSpan.FromSeconds(20))) throw new TimeoutException("the command does not end");
        var result = running.Result;
        _unit.Complete(command);
        if (result.DataInLength > command.Rented) throw new InvalidOperationException("more data than memory");
        if (result.Sense == Sense.InternalTargetFailure) throw new InvalidOperationException("a fault of the unit itself");
        if (_unit.Tasks.Count != 0) throw new InvalidOperationException("the command is still in the task set");
    }
}
