namespace LunKit.Tcmu.Ring;

/// <summary>
/// The entries of a ring between tail and cursor, in order: what a consumer needs to know of them when what they held has been written
/// over. A queue over an array that grows to the most that ever was open.
/// </summary>
/// <remarks>
/// Stores are what a ring has to be sparing with: those into shared memory wait for the other processor, and all behind them wait in line.
/// So a place is one word, and the number of commands is worked out when it is asked for.
/// </remarks>
internal sealed class Slots
{
    /// <summary>In place of an id: what wants no answer.</summary>
    public const int NoCommand = -1;

    private readonly record struct Slot(ulong Place, int CommandId)
    {
        public int At => (int)Place;

        public int Length => (int)(Place >> 32);
    }

    private Slot[] _slots = new Slot[64];
    // Counted on for ever: the array's length is a power of two.
    private uint _first, _next;
    private int _others;

    private int Count => (int)(_next - _first);

    private ref Slot At(uint number) => ref _slots[number & (uint)(_slots.Length - 1)];

    /// <summary>How many of them are commands.</summary>
    public int Commands => Count - _others;

    /// <summary>The command whose slot is the oldest; null when there is none.</summary>
    public ushort? OldestCommand
    {
        get
        {
            for (uint i = _first; i != _next; i++)
                if (At(i).CommandId is var id and not NoCommand) return (ushort)id;
            return null;
        }
    }

    /// <param name="at">Where the entry begins in the ring.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="commandId">The command, or <see cref="NoCommand"/>.</param>
    public void Add(int at, int length, int commandId)
    {
        if (Count == _slots.Length) Grow();
        At(_next++) = new((uint)at | (ulong)length << 32, commandId);
        if (commandId == NoCommand) _others++;
    }

    /// <summary>Takes out the oldest command slot, and with it whatever is before it.</summary>
    public (int At, int Length) TakeCommand()
    {
        if (Commands == 0) throw new InvalidOperationException("more completions than commands");
        if (At(_first).CommandId == NoCommand) SkipLeadingOthers();
        ref var slot = ref At(_first++);
        return (slot.At, slot.Length);
    }

    /// <summary>Drops what wants no answer at the front; where the last of it ends, or null when there was none.</summary>
    public int? SkipLeadingOthers()
    {
        int? end = null;
        for (; _first != _next && At(_first) is { CommandId: NoCommand } slot; _first++)
        {
            end = slot.At + slot.Length;
            _others--;
        }
        return end;
    }

    private void Grow()
    {
        var larger = new Slot[_slots.Length * 2];
        for (uint i = _first; i != _next; i++) larger[i & (uint)(larger.Length - 1)] = At(i);
        _slots = larger;
    }
}
