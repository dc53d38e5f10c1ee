namespace LunKit.LogicalUnits;

/// <summary>One mode page: its default bytes (with page code and length) and a mask of the bits that MODE SELECT may change.</summary>
internal sealed record ModePage(byte Code, byte Subpage, byte[] Default, byte[] Changeable)
{
    public byte[] Current { get; set; } = (byte[])Default.Clone();
    public byte[] Saved { get; set; } = (byte[])Default.Clone();

    /// <summary>What a reset restores: the saved bytes, unless the operator has asked for others since.</summary>
    public byte[] Restored { get => field ?? Saved; set; }
    public string Key => $"{Code:x2}{Subpage:x2}";
}

/// <summary>
/// The mode pages of a unit in its default, current, saved and changeable values. Pages are bytes; what a bit means is known
/// where it acts, through <see cref="Bit"/>. Thread safe: a page's bytes are replaced, never changed.
/// </summary>
internal sealed class ModePages
{
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly ModePage[] _pages;
    private readonly ModePage? _caching, _control;
    private readonly UnitMemory _memory;
    private readonly UnitSuccession _succession;

    public ModePages(IEnumerable<ModePage> pages, UnitMemory memory, UnitSuccession succession = default)
    {
        _succession = succession;
        _pages = [.. pages.OrderBy(p => p.Code).ThenBy(p => p.Subpage)];
        _memory = memory;
        Continue = succession.IsLater && memory.Read(s => s.ModePagesEpoch) == succession.Epoch;
        foreach (var page in _pages)
        {
            page.Saved = Read(page, memory.Read(s => s.ModePages.GetValueOrDefault(page.Key))) ?? page.Saved;
            page.Current = (Continue ? Read(page, memory.Read(s => s.CurrentModePages.GetValueOrDefault(page.Key))) : null) ?? page.Saved;
        }
        _caching = _pages.FirstOrDefault(p => p is { Code: 0x08, Subpage: 0 });
        _control = _pages.FirstOrDefault(p => p is { Code: 0x0A, Subpage: 0 });
    }

    private static byte[]? Read(ModePage page, string? hex) => hex?.Length == page.Default.Length * 2 ? Merge(page, Convert.FromHexString(hex)) : null;

    /// <summary>
    /// Whether pages can be saved: not where a process that serves the unit next could not know of it, and its initiators would not hear that.
    /// </summary>
    public bool CanSave => !_succession.IsPossible || _memory.IsDurable;

    /// <summary>Whether the current pages are those with which the process before has ended.</summary>
    public bool Continue { get; }

    public IReadOnlyList<ModePage> All => _pages;

    public ModePage? Find(byte code, byte subpage)
    {
        // On the path of every write.
        if (subpage == 0 && code == 0x08) return _caching;
        if (subpage == 0 && code == 0x0A) return _control;
        foreach (var page in _pages)
            if (page.Code == code && page.Subpage == subpage) return page;
        return null;
    }

    /// <summary>Current value of a bit of a page; false where the page does not exist.</summary>
    public bool Bit(byte code, byte subpage, int byteIndex, byte mask) =>
        Find(code, subpage) is { } page && (page.Current[byteIndex] & mask) != 0;

    /// <summary>The index of the first byte that MODE SELECT would change against the mask, or -1.</summary>
    public static int FirstUnchangeable(ModePage page, ReadOnlySpan<byte> wanted)
    {
        // PS in byte 0 is reserved in MODE SELECT.
        for (int i = 2; i < page.Default.Length; i++)
            if (((wanted[i] ^ page.Current[i]) & ~page.Changeable[i]) != 0) return i;
        return -1;
    }

    /// <summary>
    /// Takes new current values for <paramref name="command"/>, or for the operator, one after the other; true when a current bit changed. What must outlive the
    /// process is kept first: a change that cannot be kept is none. Its abort ends the wait for earlier ones; what is not saved does not follow a reset
    /// that ended it. The operator's values outlive resets, until an initiator saves others.
    /// </summary>
    /// <exception cref="OperationCanceledException">The command that asks was aborted, and the values are not to be saved.</exception>
    public async ValueTask<bool> ApplyAsync(IReadOnlyList<(ModePage Page, byte[] Wanted)> changes, bool save, ScsiCommand? command = null)
    {
        await _turn.WaitAsync(command?.CancellationToken ?? CancellationToken.None).ConfigureAwait(false);
        try
        {
            if (save || _succession.IsPossible)
            {
                await _memory.UpdateAsync(s =>
                {
                    if (save)
                        foreach (var (page, wanted) in changes) s.ModePages[page.Key] = Convert.ToHexString(Merge(page, wanted));
                    return KeepCurrent(s, changes, save) || save;
                }).ConfigureAwait(false);
            }
            bool changed = Apply(changes, save, command, isOperators: command is null);
            // A reset in between has kept those before.
            if (command is null) await KeepAsync().ConfigureAwait(false);
            return changed;
        }
        catch
        {
            // What was kept is not in force. When that cannot be kept either, the command fails all the same.
            if (command is { IsAborted: true }) await KeepAsync().ConfigureAwait(false);
            throw;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Puts new current values in force, and with <paramref name="save"/> or as the operator's those that a reset restores; keeps nothing.</summary>
    /// <exception cref="OperationCanceledException">The command that asks was aborted, and the values are not to be saved.</exception>
    public bool Apply(IReadOnlyList<(ModePage Page, byte[] Wanted)> changes, bool save, ScsiCommand? command = null, bool isOperators = false)
    {
        bool changed = false;
        lock (_gate)
        {
            // A reset aborts first, and then restores under this lock.
            if (!save && command is { IsAborted: true }) throw new OperationCanceledException();
            foreach (var (page, wanted) in changes)
            {
                var merged = Merge(page, wanted);
                changed |= !merged.AsSpan().SequenceEqual(page.Current);
                page.Current = merged;
                if (save) page.Saved = merged;
                if (save || isOperators) page.Restored = merged;
            }
        }
        return changed;
    }

    /// <summary>Back to the saved values, or the operator's, as a reset does. They are still to be kept: <see cref="KeepAsync"/>.</summary>
    public void Restore()
    {
        lock (_gate)
        {
            foreach (var page in _pages) page.Current = page.Restored;
        }
    }

    /// <summary>
    /// Writes what is in force for the process that serves the unit next into <paramref name="state"/>; true when that has changed it. At the start, before
    /// the first command: what another time has left there is gone then.
    /// </summary>
    public bool KeepCurrent(UnitState state) => _succession.IsPossible && KeepCurrent(state, [], save: false);

    // With changes that are about to be in force; with save they are the saved ones, too.
    private bool KeepCurrent(UnitState state, IReadOnlyList<(ModePage Page, byte[] Wanted)> changes, bool save)
    {
        if (!_succession.IsPossible) return false;
        Dictionary<string, string> current;
        lock (_gate) current = _pages.Where(p => !p.Current.AsSpan().SequenceEqual(p.Saved)).ToDictionary(p => p.Key, p => Convert.ToHexString(p.Current));
        foreach (var (page, wanted) in changes)
        {
            var merged = Merge(page, wanted);
            if (save || merged.AsSpan().SequenceEqual(page.Saved)) current.Remove(page.Key);
            else current[page.Key] = Convert.ToHexString(merged);
        }
        if (state.ModePagesEpoch == _succession.Epoch && state.CurrentModePages.Count == current.Count &&
            current.All(c => state.CurrentModePages.GetValueOrDefault(c.Key) == c.Value)) return false;
        (state.CurrentModePages, state.ModePagesEpoch) = (current, _succession.Epoch);
        return true;
    }

    /// <summary>
    /// Keeps what is in force for the process that serves the unit next, if that is another than what is kept. In the turn of the memory: a change that is being
    /// kept when a reset comes is followed by this.
    /// </summary>
    public ValueTask KeepAsync() => _succession.IsPossible ? _memory.UpdateAsync(KeepCurrent) : ValueTask.CompletedTask;

    private static byte[] Merge(ModePage page, ReadOnlySpan<byte> wanted)
    {
        var merged = (byte[])page.Default.Clone();
        for (int i = 2; i < merged.Length; i++) merged[i] = (byte)(merged[i] & ~page.Changeable[i] | wanted[i] & page.Changeable[i]);
        return merged;
    }
}
