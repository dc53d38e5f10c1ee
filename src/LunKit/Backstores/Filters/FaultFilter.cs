using System.Buffers;

namespace LunKit.Backstores;

/// <summary>
/// A disk that fails on demand, for tests: rules choose operations by class, range, count and chance, and let them fail, hang, be done in part, or move
/// wrong bits. Keeps the contract of <see cref="IBackstore"/> except where a rule breaks the data on purpose. Thread safe.
/// </summary>
public sealed class FaultFilter : CallFilter
{
    private readonly Lock _gate = new();
    private readonly List<(int Calls, TaskCompletionSource Reached)> _watchers = [];
    private volatile FaultSettings _settings;
    private volatile ActiveFault[] _faults;
    private int _hanging;

    /// <summary>Takes over <paramref name="inner"/>.</summary>
    /// <param name="inner">The inner backstore.</param>
    /// <param name="settings">The rules at the start. <see cref="ArgumentException"/> for a rule that could hit nothing.</param>
    public FaultFilter(IBackstore inner, FaultSettings settings) : base(inner)
    {
        _settings = settings;
        _faults = [.. settings.Rules.Select(rule => new ActiveFault(rule.Checked()))];
    }

    /// <summary>
    /// The rules; may be set at any time. A rule that stays goes on counting. The operations that hang in a rule that does not stay go on before this
    /// returns, on the thread that sets it, in the order in which they came. <see cref="ArgumentException"/> for a rule that could hit nothing.
    /// </summary>
    public FaultSettings Settings
    {
        get => _settings;
        set
        {
            foreach (var rule in value.Rules) rule.Checked();
            List<ActiveFault> gone;
            lock (_gate)
            {
                gone = [.. _faults];
                _faults = [.. value.Rules.Select(rule =>
                {
                    var kept = gone.Find(f => f.Rule == rule);
                    return kept is not null && gone.Remove(kept) ? kept : new ActiveFault(rule);
                })];
                _settings = value;
            }
            foreach (var fault in gone) fault.End();
        }
    }

    /// <summary>Operations that hang now.</summary>
    public int Hanging => Volatile.Read(ref _hanging);

    /// <summary>How many operations each rule has hit, in the order of the rules.</summary>
    public IReadOnlyList<long> Hits => [.. _faults.Select(f => f.Hits)];

    /// <summary>Waits until so many operations hang at once; for tests.</summary>
    public Task WhenHangingAsync(int calls, CancellationToken cancellationToken = default)
    {
        lock (_gate)
        {
            if (_hanging >= calls) return Task.CompletedTask;
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _watchers.Add((calls, reached));
            return reached.Task.WaitAsync(cancellationToken);
        }
    }

    /// <inheritdoc/>
    public override ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        var call = new BackstoreCall(BackstoreOperation.CompareAndWrite, offset, data.Length, options);
        return Find(call) is { } fault ? FaultedAsync(fault) : Inner.CompareAndWriteAsync(offset, compare, data, options, cancellationToken);

        async ValueTask<long> FaultedAsync(ActiveFault fault)
        {
            // Nobody may see half of it: it is one step.
            if (fault.Rule.Effect is FaultEffect.Short or FaultEffect.Torn) throw fault.Failure(call, fault.FirstByte(call));
            await BeginAsync(fault, call, cancellationToken).ConfigureAwait(false);
            using var copy = new Copy(fault, data, offset);
            return await Inner.CompareAndWriteAsync(offset, compare, copy.Data, options, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public override ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var call = new BackstoreCall(BackstoreOperation.Extent, offset, length);
        return Find(call) is { } fault ? FaultedAsync(fault) : Inner.ExtentAsync(offset, length, cancellationToken);

        async ValueTask<BackstoreExtent> FaultedAsync(ActiveFault fault)
        {
            await BeginAsync(fault, call, cancellationToken).ConfigureAwait(false);
            return await Inner.ExtentAsync(offset, length, cancellationToken).ConfigureAwait(false);
        }
    }

    private ActiveFault? Find(BackstoreCall call)
    {
        foreach (var fault in _faults)
            if (fault.TryHit(call)) return fault;
        return null;
    }

    /// <inheritdoc/>
    protected override ValueTask RunAsync(BackstoreCall call, DataBuffer data, CancellationToken cancellationToken) =>
        Find(call) is { } fault ? RunAsync(fault, call, data, cancellationToken) : call.MakeAsync(Inner, data, cancellationToken);

    private async ValueTask RunAsync(ActiveFault fault, BackstoreCall call, DataBuffer data, CancellationToken cancellationToken)
    {
        await BeginAsync(fault, call, cancellationToken).ConfigureAwait(false);
        switch (fault.Rule.Effect)
        {
            case FaultEffect.Short or FaultEffect.Torn:
                await DoPartAsync(fault, call, data, cancellationToken).ConfigureAwait(false);
                break;
            case FaultEffect.Corrupt:
                await DoWronglyAsync(fault, call, data, cancellationToken).ConfigureAwait(false);
                break;
            default:
                await call.MakeAsync(Inner, data, cancellationToken).ConfigureAwait(false);
                break;
        }
    }

    /// <summary>What happens before the operation touches memory or medium.</summary>
    private async ValueTask BeginAsync(ActiveFault fault, BackstoreCall call, CancellationToken cancellationToken)
    {
        if (fault.Rule.Effect == FaultEffect.Error) throw fault.Failure(call, fault.FirstByte(call));
        if (fault.Rule.Effect != FaultEffect.Hang) return;
        CountHanging(1);
        try
        {
            await fault.HangAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            CountHanging(-1);
        }
    }

    private void CountHanging(int more)
    {
        lock (_gate)
        {
            _hanging += more;
            foreach (var (_, reached) in _watchers.Where(w => _hanging >= w.Calls)) reached.TrySetResult();
            _watchers.RemoveAll(w => w.Reached.Task.IsCompleted);
        }
    }

    private async ValueTask DoPartAsync(ActiveFault fault, BackstoreCall call, DataBuffer data, CancellationToken cancellationToken)
    {
        int block = Geometry.BlockSize;
        // A pattern is written whole.
        long unit = call.Operation == BackstoreOperation.WriteSame ? data.Length : block;
        long done = call.Length / unit / 2 * unit, at = call.Offset + done;
        if (done > 0) await (call with { Length = done }).MakeAsync(Inner, data, cancellationToken).ConfigureAwait(false);
        if (fault.Rule.Effect == FaultEffect.Torn)
        {
            var torn = new DataBuffer(new byte[block]);
            await Inner.ReadAsync(at, torn, cancellationToken).ConfigureAwait(false);
            var half = torn.Slice(0, block / 2);
            if (call.Operation == BackstoreOperation.WriteZeroes) half.Clear();
            else data.Slice(call.Operation == BackstoreOperation.WriteSame ? 0 : (int)done, half.Length).CopyTo(half);
            // Carried out to its end: a cancellation would leave the block whole.
            await Inner.WriteAsync(at, torn, call.Options, CancellationToken.None).ConfigureAwait(false);
        }
        throw fault.Failure(call, at);
    }

    private async ValueTask DoWronglyAsync(ActiveFault fault, BackstoreCall call, DataBuffer data, CancellationToken cancellationToken)
    {
        if (call.Operation is BackstoreOperation.WriteZeroes or BackstoreOperation.WriteSame)
        {
            // All of it right, and one piece wrong after that: wrong bits in the pattern would be everywhere.
            await call.MakeAsync(Inner, data, cancellationToken).ConfigureAwait(false);
            var piece = new DataBuffer(new byte[call.Operation == BackstoreOperation.WriteSame ? data.Length : Geometry.BlockSize]);
            if (call.Operation == BackstoreOperation.WriteSame) data.CopyTo(piece);
            long at = call.Offset + (fault.FirstByte(call) - call.Offset) / piece.Length * piece.Length;
            fault.Corrupt(piece, at);
            await Inner.WriteAsync(at, piece, call.Options, CancellationToken.None).ConfigureAwait(false);
            return;
        }
        using var copy = call.Operation == BackstoreOperation.Read ? default : new Copy(fault, data, call.Offset);
        await call.MakeAsync(Inner, call.Operation == BackstoreOperation.Read ? data : copy.Data, cancellationToken).ConfigureAwait(false);
        if (call.Operation == BackstoreOperation.Read) fault.Corrupt(data, call.Offset);
    }

    /// <summary>The data of a write with wrong bits: the caller's own is not to be changed. The data itself where the rule does not corrupt.</summary>
    private readonly struct Copy : IDisposable
    {
        private readonly byte[]? _bytes;

        public Copy(ActiveFault fault, DataBuffer data, long offset)
        {
            Data = data;
            if (fault.Rule.Effect != FaultEffect.Corrupt) return;
            _bytes = ArrayPool<byte>.Shared.Rent(data.Length);
            Data = new(_bytes.AsMemory(0, data.Length));
            data.CopyTo(Data);
            fault.Corrupt(Data, offset);
        }

        public DataBuffer Data { get; }

        public void Dispose()
        {
            if (_bytes is not null) ArrayPool<byte>.Shared.Return(_bytes);
        }
    }
}
