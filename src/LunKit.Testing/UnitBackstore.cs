using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Testing;

/// <summary>
/// A disk behind SCSI commands as a backstore: what <see cref="BackstoreContract"/> does to it goes through the unit, so the unit is checked too,
/// and with it a handler process or a device that the unit hands its commands to. Takes the unit over. Thread safe.
/// </summary>
public sealed class UnitBackstore : IBackstore
{
    private const byte Read16 = 0x88, Write16 = 0x8A, SynchronizeCache16 = 0x91, WriteSame16 = 0x93, CompareAndWriteCode = 0x89, UnmapCode = 0x42;
    private const int ForceUnitAccess = 0x08;
    private const long MaxWriteSameBytes = 16 << 20;

    private readonly LogicalUnit _unit;
    private readonly Nexus _nexus;
    private readonly bool _isThin;

    private readonly int _transferBytes;

    private UnitBackstore(LogicalUnit unit, Nexus nexus, BackstoreGeometry geometry, bool isThin, int transferBytes) =>
        (_unit, _nexus, Geometry, _isThin, _transferBytes) = (unit, nexus, geometry, isThin, transferBytes);

    /// <summary>Asks the unit for its capacity. Throws <see cref="BackstoreException"/> when it has none.</summary>
    public static async Task<UnitBackstore> OpenAsync(LogicalUnit unit)
    {
        var nexus = new Nexus("iqn.2026-11.local.lunkit:testing", "iqn.2026-11.local.lunkit:testing,i,0x1", new byte[24], new TargetPort("testing,t,0x0001", 1, 1, "testing"));
        nexus.Open([KeyValuePair.Create(0, unit)]);
        var capacity = new byte[32];
        var cdb = new byte[16];
        (cdb[0], cdb[1], cdb[13]) = (0x9E, 0x10, 32);
        await RunAsync(nexus, cdb, new DataBuffer(capacity), default, default).ConfigureAwait(false);
        int block = BinaryPrimitives.ReadInt32BigEndian(capacity.AsSpan(8));
        long bytes = checked((BinaryPrimitives.ReadInt64BigEndian(capacity) + 1) * block);
        var limits = new byte[64];
        await RunAsync(nexus, [0x12, 0x01, 0xB0, 0, 64, 0], new DataBuffer(limits), default, default).ConfigureAwait(false);
        return new UnitBackstore(unit, nexus, new BackstoreGeometry(bytes)
        {
            CompareAndWriteBytes = limits[5] * block,
            BlockSize = block, PhysicalBlockSize = Math.Max(block, block << (capacity[13] & 0x0F)), DiscardGranularity = Math.Max(4096, block),
        }, isThin: (capacity[14] & 0xC0) == 0xC0, transferBytes: TransferBytes(limits, block));
    }

    /// <summary>The longest transfer that the block limits page allows.</summary>
    private static int TransferBytes(byte[] limits, int block)
    {
        uint blocks = BinaryPrimitives.ReadUInt32BigEndian(limits.AsSpan(8));
        return blocks == 0 || blocks > MaxWriteSameBytes / block ? (int)MaxWriteSameBytes : (int)blocks * block;
    }

    /// <inheritdoc/>
    public BackstoreGeometry Geometry { get; }

    /// <inheritdoc/>
    public BackstoreFeatures Features => BackstoreFeatures.Concurrent | BackstoreFeatures.ForceUnitAccess | BackstoreFeatures.VolatileCache | BackstoreFeatures.WriteSame | (Geometry.CompareAndWriteBytes > 0 ? BackstoreFeatures.CompareAndWrite : 0) |
        (_isThin ? BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes : 0);

    /// <inheritdoc/>
    public async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        foreach (var (at, part) in Parts(data))
            await RunAsync(_nexus, Cdb(Read16, offset + at, part.Length), part, default, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        foreach (var (at, part) in Parts(data))
            await RunAsync(_nexus, Cdb(Write16, offset + at, part.Length, Fua(options)), default, part, cancellationToken).ConfigureAwait(false);
    }

    private IEnumerable<(int At, DataBuffer Part)> Parts(DataBuffer data)
    {
        for (int at = 0; at < data.Length; at += _transferBytes) yield return (at, data.Slice(at, Math.Min(_transferBytes, data.Length - at)));
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => RunAsync(_nexus, Cdb(SynchronizeCache16, 0, 0), default, default, cancellationToken);

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var list = new byte[24];
        (list[1], list[3]) = (22, 16);
        BinaryPrimitives.WriteInt64BigEndian(list.AsSpan(8), offset / Geometry.BlockSize);
        BinaryPrimitives.WriteUInt32BigEndian(list.AsSpan(16), checked((uint)(length / Geometry.BlockSize)));
        var cdb = new byte[10];
        (cdb[0], cdb[8]) = (UnmapCode, 24);
        return RunAsync(_nexus, cdb, default, new DataBuffer(list), cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        WriteSameAsync(offset, length, new DataBuffer(new byte[Geometry.BlockSize]), options, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken)
    {
        for (long done = 0; done < length; done += MaxWriteSameBytes)
            await RunAsync(_nexus, Cdb(WriteSame16, offset + done, Math.Min(MaxWriteSameBytes, length - done)), default, pattern, cancellationToken).ConfigureAwait(false);
        if (options != WriteOptions.None) await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        int blocks = data.Length / Geometry.BlockSize;
        byte[] both = [.. compare.ToArray(), .. data.ToArray()];
        var cdb = Cdb(CompareAndWriteCode, offset, 0, Fua(options));
        cdb[13] = (byte)blocks;
        var result = await SendAsync(_nexus, cdb, default, new DataBuffer(both), cancellationToken).ConfigureAwait(false);
        if (result.Status != ScsiStatus.CheckCondition || result.Sense != Sense.MiscompareDuringVerify)
        {
            Check(result, cdb);
            return -1;
        }
        return (long)result.Detail.Information;
    }

    private static int Fua(WriteOptions options) => (options & WriteOptions.ForceUnitAccess) != 0 ? ForceUnitAccess : 0;

    private byte[] Cdb(byte opcode, long offset, long bytes, int flags = 0)
    {
        var cdb = new byte[16];
        (cdb[0], cdb[1]) = (opcode, (byte)flags);
        BinaryPrimitives.WriteInt64BigEndian(cdb.AsSpan(2), offset / Geometry.BlockSize);
        BinaryPrimitives.WriteUInt32BigEndian(cdb.AsSpan(10), checked((uint)(bytes / Geometry.BlockSize)));
        return cdb;
    }

    private static async ValueTask RunAsync(Nexus nexus, byte[] cdb, DataBuffer dataIn, DataBuffer dataOut, CancellationToken cancellationToken) =>
        Check(await SendAsync(nexus, cdb, dataIn, dataOut, cancellationToken).ConfigureAwait(false), cdb);

    private static async ValueTask<CommandResult> SendAsync(Nexus nexus, byte[] cdb, DataBuffer dataIn, DataBuffer dataOut, CancellationToken cancellationToken)
    {
        var entry = nexus.Luns.Find(0)!;
        while (true)
        {
            var command = new TestCommand(entry, cdb, dataIn, dataOut);
            // A command that is aborted ends all the same, and has then left the memory alone.
            using var abort = cancellationToken.Register(() => entry.Unit.Tasks.Abort(c => c == command, _ => true));
            var result = await entry.Unit.ExecuteAsync(command).ConfigureAwait(false);
            entry.Unit.Complete(command);
            // Fabrics only take a note of a command's end: what goes on here must not do so on the thread that completed it.
            await Task.Yield();
            if (command.IsAborted) cancellationToken.ThrowIfCancellationRequested();
            if (result.Status == ScsiStatus.CheckCondition && result.Sense.Key == SenseKey.UnitAttention) continue;
            return result;
        }
    }

    private static void Check(CommandResult result, byte[] cdb)
    {
        if (result.Status != ScsiStatus.Good) throw new BackstoreException(BackstoreError.Internal, $"command {cdb[0]:X2}h ended with {result}");
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _nexus.Close();
        await _unit.DisposeAsync().ConfigureAwait(false);
    }

    private sealed class TestCommand : ScsiCommand
    {
        private readonly DataBuffer _dataIn;

        public TestCommand(UnitNexus entry, byte[] cdb, DataBuffer dataIn, DataBuffer dataOut)
        {
            Reset(cdb);
            (UnitNexus, Nexus, Attribute) = (entry, entry.Nexus, TaskAttribute.Simple);
            _dataIn = dataIn;
            DataOut = dataOut;
            DataOutBufferSize = dataOut.Length;
            DataInBufferSize = dataIn.Length;
        }

        public override DataBuffer RentDataIn(int length) => _dataIn.Slice(0, Math.Min(length, _dataIn.Length));
    }
}
