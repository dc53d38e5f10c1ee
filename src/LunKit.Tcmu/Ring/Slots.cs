namespace LunKit.Tcmu.Ring;

/// <summary>
/// The entries of a ring between tail and cursor, in order: what a consumer needs to know of them when what they held has been written
/// over. A queue over an array that grows to the most that ever was open.
/// </summary>
internal sealed class Slots
{
    // No command has this id.
    private const int None = -1;

    private readonly record struct Slot(int At, int Length, int CommandId);

    private Slot[] _slots = new Slot[64];
    private int _first;
    private int _count;

    /// <summary>How many of them are commands.</summary>
    public int Commands { get; private set; }

    /// <summary>The command whose slot is the oldest; null when there is none.</summary>
    public ushort? OldestCommand
    {
        get
        {
            for (int i = 0; i < _count; i++)
                if (_slots[(_first + i) & (_slots.Length - 1)].CommandId is var id and not None) return (ushort)id;
            return null;
        }
    }

    /// <param name="at">Where the entry begins in the ring.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="commandId">Null for what wants no answer.</param>
    public void Add(int at, int length, ushort? commandId)
    {
        if (_count == _slots.Length) Grow();
        _slots[(_first + _count++) & (_slots.Length - 1)] = new(at, length, commandId ?? None);
        if (commandId is not null) Commands++;
    }

    /// <summary>Takes out the oldest command slot, and with it whatever is before it.</summary>
    public (int At, int Length) TakeCommand()
    {
        if (Commands == 0) throw new InvalidOperationException("more completions than commands");
        if (_slots[_first].CommandId == None) SkipLeadingOthers();
        var slot = Pop();
        Commands--;
        return (slot.At, slot.Length);
    }

    /// <summary>Drops what wants no answer at the front; where the last of it ends, or null when there was none.</summary>
    public int? SkipLeadingOthers()
    {
        int? end = null;
        while (_count > 0 && _slots[_first].CommandId == None)
        {
            var slot = Pop();
            end = slot.At + slot.Length;
        }
        return end;
    }

    private Slot Pop()
    {
        var slot = _slots[_first];
        _first = (_first + 1) & (_slots.Length - 1);
        _count--;
        return slot;
    }

    private void Grow()
    {
        var larger = new Slot[_slots.Length * 2];
        for (int i = 0; i < _count; i++) larger[i] = _slots[(_first + i) & (_slots.Length - 1)];
        (_slots, _first) = (larger, 0);
    }
}
