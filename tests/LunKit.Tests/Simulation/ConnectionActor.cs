using LunKit.Iscsi.Sessions;

namespace LunKit.Tests.Simulation;

/// <summary>
/// The thread of a connection as an actor of a <see cref="SimulatedWorld"/>: it steps when bytes come that it wants, when there is room
/// that it
/// wants, when its stream is signalled, and when its timer is due; never in the middle of a step of its own.
/// </summary>
internal sealed class ConnectionActor
{
    private readonly SimulatedWorld _world;
    private readonly SimulatedStream _stream;
    private readonly Stack<ConnectionActor> _running;
    private bool _isScheduled, _isStepping, _again;
    private long _due, _armed = long.MaxValue;

    /// <param name="world">Where it lives.</param>
    /// <param name="connection">The connection.</param>
    /// <param name="stream">Its stream.</param>
    /// <param name="running">The actors that are in the middle of a step, the last one on top.</param>
    public ConnectionActor(SimulatedWorld world, IscsiConnection connection, SimulatedStream stream, Stack<ConnectionActor> running)
    {
        (_world, Connection, _stream, _running) = (world, connection, stream, running);
        stream.Signalled = Schedule;
        stream.ToTarget.Readable = LookAtStream;
        stream.ToInitiator.Writable = LookAtStream;
        Schedule();
    }

    public IscsiConnection Connection { get; }

    public int Steps { get; private set; }

    public override string ToString() => $"{Connection.Remote} has made {Steps} steps";

    private void LookAtStream()
    {
        // At the end of a step it looks itself.
        if (_isStepping || Connection.HasEnded) return;
        if (Connection.WantsInput && _stream.IsReadable || Connection.WantsOutput && _stream.IsWritable) Schedule();
    }

    private void Schedule()
    {
        if (_isStepping) _again = true;
        if (_isScheduled || _isStepping) return;
        _isScheduled = true;
        _world.Soon(Run);
    }

    private void Run()
    {
        _isScheduled = false;
        if (_isStepping)
        {
            _again = true;
            return;
        }
        if (Connection.HasEnded) return;
        _isStepping = true;
        _running.Push(this);
        Steps++;
        bool any = Connection.Step();
        _running.Pop();
        Leave();
        _isStepping = false;
        _world.Mix(any ? 1 : 2);
        if (Connection.HasEnded) return;
        if (any || _again) Schedule();
        else Rest();
        _again = false;
    }

    /// <summary>Something else runs: no code may think that it runs on this connection's thread.</summary>
    public void Leave() => Connection.OwnThread = 0;

    public void Resume() => Connection.OwnThread = Environment.CurrentManagedThreadId;

    private void Rest()
    {
        _due = _world.Now + Math.Max(1, Connection.NextTimer.Ticks);
        LookAtStream();
        if (!_isScheduled) Arm();
    }

    private void Arm()
    {
        if (_armed <= _due) return;
        long due = _armed = _due;
        _world.After(TimeSpan.FromTicks(due - _world.Now), () => Ring(due));
    }

    private void Ring(long due)
    {
        if (_armed != due) return;
        _armed = long.MaxValue;
        if (_isScheduled || _isStepping || Connection.HasEnded) return;
        if (Connection.HasUnseenWork || Connection.HoldsTurn)
            throw new SimulationException($"{Connection.Remote} has not been woken for what others left to it");
        if (_world.Now < _due) Arm();
        else Schedule();
    }
}
