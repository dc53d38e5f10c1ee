using System.Buffers;
using System.Diagnostics;

namespace LunKit.Testing;

/// <summary>
/// Two calls that wait for each other wherever they touch the memory they were given, which is in the middle of their work: what one has done
/// up to there with state of the backstore's own, a position or a scratch buffer, the other then spoils. Where calls exclude each other they
/// cannot meet, and go on after a while. Thread safe.
/// </summary>
internal sealed class Meeting
{
    private const int LongMilliseconds = 20, PatientMisses = 8, ImpatientTurns = 64;

    private static readonly long s_wakeTicks = Stopwatch.Frequency / 5000;

    private readonly object _gate = new();
    private int _waiting, _round, _misses, _awake;
    private bool _isOver;

    /// <summary>How often both were inside their calls at the same time.</summary>
    public int Met => Volatile.Read(ref _round);

    /// <summary>Memory over the bytes, at every use of which the call that has it waits for the other.</summary>
    public Memory<byte> MemoryOf(byte[] bytes) => new MeetingMemory(this, bytes).Memory;

    /// <summary>Two new calls begin.</summary>
    public void Begin()
    {
        lock (_gate) (_waiting, _isOver) = (0, false);
    }

    /// <summary>One of both has ended: the other goes on alone.</summary>
    public void End()
    {
        lock (_gate)
        {
            _isOver = true;
            Monitor.PulseAll(_gate);
        }
    }

    private void Arrive()
    {
        if (!TryMeet(out int round)) return;
        // The one that slept needs some time to wake: both go on in the same moment.
        Interlocked.Increment(ref _awake);
        for (long end = Stopwatch.GetTimestamp() + s_wakeTicks; Volatile.Read(ref _awake) < 2 * round && Stopwatch.GetTimestamp() < end;) Thread.SpinWait(10);
    }

    private bool TryMeet(out int round)
    {
        lock (_gate)
        {
            round = _round + 1;
            if (_isOver) return false;
            if (_waiting == 1)
            {
                (_waiting, _misses) = (0, 0);
                _round++;
                Monitor.PulseAll(_gate);
                return true;
            }
            // Calls that exclude each other are not held up at every turn.
            if (_misses >= PatientMisses && _misses++ % ImpatientTurns != 0) return false;
            _waiting = 1;
            long end = Environment.TickCount64 + LongMilliseconds;
            while (_round < round && !_isOver)
            {
                int left = (int)(end - Environment.TickCount64);
                if (left > 0 && Monitor.Wait(_gate, left)) continue;
                if (_round == round || _isOver) break;
                _waiting = 0;
                _misses++;
                return false;
            }
            return _round >= round;
        }
    }

    private sealed class MeetingMemory(Meeting meeting, byte[] bytes) : MemoryManager<byte>
    {
        public override Memory<byte> Memory => CreateMemory(bytes.Length);

        public override Span<byte> GetSpan()
        {
            meeting.Arrive();
            return bytes;
        }

        public override MemoryHandle Pin(int elementIndex = 0)
        {
            meeting.Arrive();
            return bytes.AsMemory(elementIndex).Pin();
        }

        // The handle of the array unpins it.
        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }
    }
}
