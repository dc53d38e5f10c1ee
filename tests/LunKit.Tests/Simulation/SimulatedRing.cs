using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Target;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Simulation;

/// <summary>
/// A logical unit whose commands go over a ring, in real shared memory, to handlers that come and go; the ring's thread is an actor. Each handler
/// finds the disk as the one before has left it.
/// </summary>
internal sealed class SimulatedRing
{
    private static readonly TimeSpan s_tick = TimeSpan.FromMilliseconds(100);

    private readonly SimulatedWorld _world;
    private readonly SimulatedDisk _disk;
    private readonly UserRing _ring;
    private SimulatedHandler? _handler;
    private bool _isScheduled, _isTurning, _again, _isTicking, _isGone, _hasLeft;

    public SimulatedRing(SimulatedWorld world, SimulatedDisk disk, string name)
    {
        (_world, _disk) = (world, disk);
        bool isSmall = world.Chance(0.3);
        HasCache = world.Chance(0.5);
        var options = new UserRingOptions
        {
            RingBytes = isSmall ? 8192 : 65536, DataAreaBytes = isSmall ? 256 * 1024 : 1 << 20, MaxCommands = isSmall ? 4 : 64,
            CommandTimeout = TimeSpan.FromSeconds(world.Pick([5, 30])), QueueTimeout = TimeSpan.FromSeconds(world.Pick([5, 30])),
            LeavingTime = TimeSpan.FromSeconds(world.Pick([1, 3600])),
        };
        _ring = new UserRing(name, options, new DataAreaBudget(1 << 30), NullLogger.Instance, new RingRuntime
        {
            // 0 is no time.
            Clock = () => 1 + world.Now / TimeSpan.TicksPerMillisecond, HasThread = false, HandlerRung = () => _handler?.Schedule(),
        })
        {
            Broken = () => world.After(TimeSpan.FromMilliseconds(world.Between(0, 1000)), () => _handler?.Kill()),
        };
        _ring.HandlerGone = () => world.After(Absence(), Attach);
        Unit = new RingUnit(_ring, SimulatedDisk.BlockSize, new UnitIdentity { Name = name, Id = UnitIdentity.IdOf(name) }, null, NullLogger.Instance, world.Runtime)
        {
            Removing = Remove,
        };
        world.After(Absence(), Attach);
    }

    public RingUnit Unit { get; }

    /// <summary>The unit closes: no handler comes any more, and the one that is there flushes and goes.</summary>
    private void Remove()
    {
        _isGone = true;
        _handler?.Leave();
        Schedule();
    }

    /// <summary>Whether handlers have a cache that dies with them.</summary>
    public bool HasCache { get; }

    /// <summary>A handler has died with acknowledged writes in its own memory: called with the blocks that are older now.</summary>
    public required Action<IReadOnlyList<int>> Lost { get; init; }

    /// <summary>From here on handlers stay, and those that are missing come soon.</summary>
    public bool IsFair { get; set; }

    private TimeSpan Absence() => TimeSpan.FromMilliseconds(IsFair ? 10 : _world.Pick([0, 100, 3000, 40_000]));

    private void Attach()
    {
        if (_isGone || _handler is not null) return;
        var grant = _ring.Attach();
        _world.Note("a handler comes");
        _handler = new SimulatedHandler(_world, _disk, grant, _ring.RegionBytes, Schedule, HasCache) { Died = Forget };
        Schedule();
    }

    private void Forget()
    {
        if (HasCache && _handler is { HasLeft: false })
        {
            var blocks = _disk.LoseCache();
            if (blocks.Count > 0)
            {
                _world.Note($"blocks {string.Join(' ', blocks)} are lost with the handler");
                Lost(blocks);
            }
        }
        _hasLeft = _handler is { HasLeft: true };
        _handler = null;
        Schedule();
    }

    /// <summary>Something befalls the handler.</summary>
    public void Misfortune()
    {
        if (_handler is not { } handler) return;
        switch (_world.Between(0, 9))
        {
            case < 5: handler.Kill(); break;
            case < 7: handler.Hang(TimeSpan.FromSeconds(_world.Pick([1, 10, 60]))); break;
            case < 9: handler.Leave(); break;
            default: handler.Lie(); break;
        }
    }

    /// <summary>The faults stop.</summary>
    public void EndFaults()
    {
        IsFair = true;
        _handler?.Wake();
        _world.After(TimeSpan.FromSeconds(1), Attach);
    }

    /// <summary>The unit is closed, and no handler is there any more; whether all that was acknowledged must be on the medium.</summary>
    public bool Close()
    {
        bool isFlushed = Unit.ClosingFailure is null;
        if (_hasLeft && !isFlushed && _disk.FailedFlushes == 0 && _ring.BrokenCount == 0) throw new SimulationException($"the closing fails though its handler has flushed: {Unit.ClosingFailure!.Message}");
        if (isFlushed && _handler is not null) throw new SimulationException("the unit is closed, and its handler is still there");
        _handler?.Kill();
        _disk.Close();
        // One that was killed may have had a write that nobody was told of.
        return isFlushed && _hasLeft;
    }

    /// <summary>The ring's thread has something to do.</summary>
    private void Schedule()
    {
        if (_isTurning) _again = true;
        if (_isScheduled || _isTurning) return;
        _isScheduled = true;
        _world.Soon(Run);
    }

    private void Run()
    {
        _isScheduled = false;
        if (_isTurning)
        {
            _again = true;
            return;
        }
        _isTurning = true;
        bool isWell = _ring.Turn(waits: false);
        _isTurning = false;
        if (!isWell || _again) Schedule();
        _again = false;
        Tick();
    }

    // Time-outs, and aborts that the handler is to hear of.
    private void Tick()
    {
        if (_isTicking || _isGone) return;
        _isTicking = true;
        _world.After(_ring.CommandCount > 0 ? s_tick : 10 * s_tick, () =>
        {
            _isTicking = false;
            Schedule();
        });
    }
}
