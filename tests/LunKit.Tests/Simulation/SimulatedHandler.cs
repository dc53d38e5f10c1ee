using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using LunKit.Tcmu.Ring;
using LunKit.Tcmu.Target;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tests.Simulation;

/// <summary>
/// A handler process that serves a ring, as an actor of a <see cref="SimulatedWorld"/>: it steps when its doorbell is rung and when the disk
/// behind it has done something, and dies when it is told to. What it has not begun then never happens; what it has acknowledged stays, as in
/// the system's page cache, or is lost with its own (<see cref="SimulatedRing.Lost"/>).
/// </summary>
internal sealed class SimulatedHandler
{
    private readonly SimulatedWorld _world;
    private readonly SimulatedDisk _disk;
    private readonly Transport _transport;
    private readonly RingDevice _device;
    private readonly BlockUnit _unit;
    private readonly SafeFileHandle _lease;
    private bool _isScheduled, _isStepping, _again, _isHung, _isLeaving, _isFlushing;

    public SimulatedHandler(SimulatedWorld world, SimulatedDisk disk, HandlerGrant grant, int regionBytes, Action notify, bool hasCache)
    {
        (_world, _disk, _lease) = (world, disk, grant.Lease);
        _disk.Open();
        _transport = new Transport(grant.Memory, regionBytes, notify, Schedule);
        _unit = new BlockUnit(new BackstoreGuard(new Store(this, disk, hasCache)), "handled", new UnitMemory(new VolatileUnitState(UnitIdentity.IdOf("handled"))),
            new BlockUnitOptions(), NullLogger.Instance, world.Runtime);
        _device = new RingDevice("handled", _transport, _unit, NullLogger.Instance);
        Schedule();
    }

    public bool IsDead { get; private set; }

    /// <summary>It has completed and flushed all, and let go.</summary>
    public bool HasLeft { get; private set; }

    /// <summary>Called when it is dead, its memory and its lease gone.</summary>
    public Action? Died { get; init; }

    /// <summary>There may be something to do for it.</summary>
    public void Schedule()
    {
        if (_isStepping) _again = true;
        if (IsDead || _isHung || _isScheduled || _isStepping) return;
        _isScheduled = true;
        _world.Soon(Run);
    }

    private void Run()
    {
        _isScheduled = false;
        if (IsDead || _isHung) return;
        if (_isStepping)
        {
            _again = true;
            return;
        }
        _isStepping = true;
        bool more;
        try
        {
            more = _device.Step();
        }
        catch (RingException)
        {
            // The target has taken the ring away, and gives it to another.
            more = false;
            _world.Soon(Kill);
        }
        _isStepping = false;
        _world.Mix(more ? 3 : 4);
        if (_isLeaving && _device.IsOver) EndInOrder();
        else if (more || _again) Schedule();
        _again = false;
    }

    /// <summary>It does nothing for a while; its disk goes on.</summary>
    public void Hang(TimeSpan time)
    {
        if (IsDead || _isHung) return;
        _world.Note($"the handler hangs for {time.TotalSeconds} s");
        _isHung = true;
        _world.After(time, Wake);
    }

    public void Wake()
    {
        _isHung = false;
        Schedule();
    }

    /// <summary>It ends at once, whatever it is doing.</summary>
    public void Kill()
    {
        // Not while another of its threads is said to be somewhere in the middle.
        if (_isStepping)
        {
            _world.Soon(Kill);
            return;
        }
        if (IsDead) return;
        _world.Note("the handler is killed");
        End();
    }

    /// <summary>It writes nonsense into the ring; that is found when the target looks.</summary>
    public void Lie()
    {
        if (IsDead) return;
        _world.Note("the handler breaks the ring");
        MemoryMarshal.AsRef<MailboxAbi>(_transport.Region.Span).Tail = 13;
        _transport.Notify();
    }

    /// <summary>It completes what it has read, flushes, and goes.</summary>
    public void Leave()
    {
        if (IsDead || _isLeaving) return;
        _world.Note("the handler leaves");
        _isLeaving = true;
        _device.Stop();
        Schedule();
    }

    private async void EndInOrder()
    {
        if (_isFlushing) return;
        _isFlushing = true;
        try
        {
            await _unit.FlushAsync().ConfigureAwait(false);
            if (IsDead) return;
            _device.Leave();
            HasLeft = true;
        }
        catch (BackstoreException)
        {
            // It does not say that all is flushed.
        }
        if (!IsDead) End();
    }

    private void End()
    {
        IsDead = true;
        _disk.CallersDied();
        _device.Dispose();
        // The last thing that a process loses.
        _lease.Dispose();
        Died?.Invoke();
    }

    /// <summary>The disk, as long as the handler lives: what it has still begun by itself is not carried out afterwards.</summary>
    private sealed class Store(SimulatedHandler handler, SimulatedDisk disk, bool hasCache) : IBackstore
    {
        private static ValueTask Never => new(new TaskCompletionSource().Task);

        public BackstoreGeometry Geometry => disk.Geometry;

        public BackstoreFeatures Features => disk.Features | (hasCache ? BackstoreFeatures.None : BackstoreFeatures.SurvivesProcess);

        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) =>
            handler.IsDead ? Never : disk.ReadAsync(offset, data, cancellationToken);

        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
            handler.IsDead ? Never : disk.WriteAsync(offset, data, options, cancellationToken);

        public ValueTask FlushAsync(CancellationToken cancellationToken) => handler.IsDead ? Never : disk.FlushAsync(cancellationToken);

        public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) =>
            handler.IsDead ? Never : disk.DiscardAsync(offset, length, cancellationToken);

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class Transport(SafeFileHandle memory, int bytes, Action notify, Action wake) : IRingTransport
    {
        private readonly MappedRegion _region = new(memory, bytes);

        public Memory<byte> Region => _region.Memory;

        public void Notify() => notify();

        public bool Wait(int timeoutMilliseconds) => throw new NotSupportedException("it has no thread");

        public void Wake() => wake();

        public void Dispose() => ((IDisposable)_region).Dispose();
    }
}
