using System.Buffers;
using System.Threading.Tasks.Sources;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// Everything a device server may know of one request. A fabric derives from it, fills it, runs it once through
/// <see cref="LogicalUnit.ExecuteAsync"/>, calls <see cref="LogicalUnit.Complete"/> when the answer is queued, and may then use it again. One thread
/// at a time uses it, except <see cref="MarkAborted"/>, <see cref="OnAborted"/> and <see cref="Charge"/>.
/// </summary>
public abstract class ScsiCommand : IValueTaskSource<bool>, IThreadPoolWorkItem
{
    /// <summary>The longest CDB (SPC-5 4.2.3: variable length, 260 bytes).</summary>
    public const int MaxCdbLength = 260;

    private readonly byte[] _cdb = new byte[MaxCdbLength];
    private int _cdbLength;
    private CancellationTokenSource _cancellation = new();
    private volatile bool _aborted;
    // A grant comes from another command's end, and goes on through the task set's queue: on that thread it would nest one stack frame per command.
    private ManualResetValueTaskSourceCore<bool> _grant;
    private bool _granted;

    /// <summary>Makes a command; <see cref="Reset"/> makes it ready to run.</summary>
    protected ScsiCommand() => Place = new TaskEntry(this);

    /// <summary>Who asks, and at which logical unit; null when the LUN has no unit behind it.</summary>
    public UnitNexus? UnitNexus { get; set; }

    /// <summary>Who asks.</summary>
    public Nexus Nexus { get; set; } = null!;

    /// <summary>The fabric's tag of the command, for messages.</summary>
    public ulong Tag { get; set; }

    /// <summary>SAM-6 8.9.</summary>
    public TaskAttribute Attribute { get; set; }

    /// <summary>The command descriptor block, a copy that nobody changes.</summary>
    public ReadOnlySpan<byte> Cdb => _cdb.AsSpan(0, _cdbLength);

    /// <summary>The data that the initiator sent; at most what <see cref="LogicalUnit.DataOutLength"/> asked for.</summary>
    public DataBuffer DataOut { get; set; }

    /// <summary>Where <see cref="DataOut"/> lies, if that is memory which the unit has lent for it (<see cref="LogicalUnit.RentDataOut"/>).</summary>
    internal IMemoryOwner<byte>? DataOutOwner { get; set; }

    /// <summary>Bytes that the initiator has for the command (SAM-6 5.1, Data-Out Buffer Size); more or fewer than it takes.</summary>
    public long DataOutBufferSize { get; set; }

    /// <summary>Bytes that the initiator takes from the command at most (SAM-6 5.1, Data-In Buffer Size).</summary>
    public long DataInBufferSize { get; set; }

    /// <summary>Cancelled when the command was aborted.</summary>
    public CancellationToken CancellationToken => _cancellation.Token;

    /// <summary>Whether task management ended the command.</summary>
    public bool IsAborted => _aborted;

    /// <summary>Whether the initiator is told that an aborted command was aborted (TASK ABORTED) instead of nothing.</summary>
    internal bool ReportAborted { get; private set; }

    /// <summary>
    /// Memory for <paramref name="length"/> bytes of data to the initiator; called at most once per command. The fabric owns it.
    /// </summary>
    public abstract DataBuffer RentDataIn(int length);

    /// <summary>
    /// Offers the data for the initiator where it lies, instead of in <see cref="RentDataIn"/>'s memory. True: the fabric sends it from there, and
    /// disposes <paramref name="owner"/> afterwards.
    /// </summary>
    internal virtual bool TryLendDataIn(DataBuffer data, IDisposable owner) => false;

    /// <summary>Takes over a copy of <paramref name="cdb"/> and makes the command ready to run.</summary>
    protected void Reset(ReadOnlySpan<byte> cdb)
    {
        cdb.CopyTo(_cdb);
        _cdbLength = cdb.Length;
        DataOut = default;
        DataOutOwner = null;
        DataOutBufferSize = DataInBufferSize = 0;
        ReportAborted = false;
        Row = null;
        if (!_aborted) return;
        // The old source may be being cancelled by another thread just now: it stays with the command that it was for.
        _aborted = false;
        _cancellation = new CancellationTokenSource();
    }

    /// <summary>Drops the bytes of the CDB past <paramref name="length"/>.</summary>
    internal void CutCdb(int length) => _cdbLength = Math.Min(_cdbLength, length);

    /// <summary>
    /// Marks the command as aborted; it still completes, once, and what it did until then stays done. The caller knows that it is
    /// not done yet, and has the returned source cancelled where nobody holds a lock.
    /// </summary>
    internal CancellationTokenSource MarkAborted(bool report)
    {
        ReportAborted |= report;
        _aborted = true;
        return _cancellation;
    }

    /// <summary>The row of the command table that the CDB belongs to; null when nobody knows it. Found once, by the unit.</summary>
    internal CommandDescriptor? Row { get; set; }

    internal TaskEntry Place { get; }

    /// <summary>
    /// The command was marked as aborted: its fabric wakes the thread that owns it, which drops it if its data is still to come. Any thread, without
    /// locks; the command may have left its task set meanwhile, and even be another one.
    /// </summary>
    protected internal virtual void OnAborted()
    {
    }

    /// <summary>Memory of the command's own beside its data, on the account of its fabric.</summary>
    internal Scratch RentScratch(int length) => new(this, length);

    /// <summary>Counts bytes that the command holds, or with a negative number gives back, where its fabric limits them. Any thread.</summary>
    protected internal virtual void Charge(long bytes)
    {
    }

    internal ValueTask<bool> WaitGrantAsync() => new(this, _grant.Version);
    internal void PrepareGrant() => _grant.Reset();
    internal void SetGrant(bool granted) => _granted = granted;

    void IThreadPoolWorkItem.Execute() => _grant.SetResult(_granted);

    bool IValueTaskSource<bool>.GetResult(short token) => _grant.GetResult(token);
    ValueTaskSourceStatus IValueTaskSource<bool>.GetStatus(short token) => _grant.GetStatus(token);
    void IValueTaskSource<bool>.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _grant.OnCompleted(continuation, state, token, flags);
}
