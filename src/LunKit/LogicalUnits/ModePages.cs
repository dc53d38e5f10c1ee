namespace LunKit.LogicalUnits;

/// <summary>One mode page: its default bytes (with page code and length) and a mask of the bits that MODE SELECT may change.</summary>
internal sealed record ModePage(byte Code, byte Subpage, byte[] Default, byte[] Changeable)
{
    public byte[] Current { get; set; } = (byte[])Default.Clone();
    public byte[] Saved { get; set; } = (byte[])Default.Clone();
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

    public ModePages(IEnumerable<ModePage> pages, UnitMemory memory, UnitSuccession succession = UnitSuccession.None)
    {
        _succession = succession;
        _pages = [.. pages.OrderBy(p => p.Code).ThenBy(p => p.Subpage)];
        _memory = memory;
        foreach (var page in _pages)
        {
            page.Saved = Read(page, memory.Read(s => s.ModePages.GetValueOrDefault(page.Key))) ?? page.Saved;
            page.Current = (succession == UnitSuccession.Later ? Read(page, memory.Read(s => s.CurrentModePages.GetValueOrDefault(page.Key))) : null) ?? page.Saved;
        }
        _caching = _pages.FirstOrDefault(p => p is { Code: 0x08, Subpage: 0 });
        _control = _pages.FirstOrDefault(p => p is { Code: 0x0A, Subpage: 0 });
    }

    private static byte[]? Read(ModePage page, string? hex) => hex?.Length == page.Default.Length * 2 ? Merge(page, Convert.FromHexString(hex)) : null;

    /// <summary>
    /// Whether pages can be saved: not where a process that serves the unit next could not know of it, and its initiators would not hear that.
    /// </summary>
    public bool CanSave => _succession == UnitSuccession.None || _memory.IsDurable;

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
    /// Takes new current values for <paramref name="command"/>, and with <paramref name="save"/> saves them first, one MODE SELECT after the other;
    /// true when a current bit changed. Its abort ends the wait for earlier ones; what is not saved does not follow a reset that ended it.
    /// </summary>
    public async ValueTask<bool> ApplyAsync(IReadOnlyList<(ModePage Page, byte[] Wanted)> changes, bool save, ScsiCommand command)
    {
        await _turn.WaitAsync(command.CancellationToken).ConfigureAwait(false);
        try
        {
            if (save)
            {
                await _memory.UpdateAsync(s =>
                {
                    foreach (var (page, wanted) in changes) s.ModePages[page.Key] = Convert.ToHexString(Merge(page, wanted));
                }).ConfigureAwait(false);
            }
            bool changed = Apply(changes, save, command);
            await RememberAsync().ConfigureAwait(false);
            return changed;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Puts new current values in force, and with <paramref name="save"/> those that a reset restores; stores nothing.</summary>
    /// <exception cref="OperationCanceledException">The command that asks was aborted, and the values are not to be saved.</exception>
    public bool Apply(IReadOnlyList<(ModePage Page, byte[] Wanted)> changes, bool save, ScsiCommand? command = null)
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
            }
        }
        return changed;
    }

    /// <summary>Back to the saved values, as a reset does.</summary>
    public void Restore()
    {
        lock (_gate)
        {
            foreach (var page in _pages) page.Current = page.Saved;
        }
        // Initiators have a unit attention: whether the next process finds it or not is nothing that they rely on.
        if (_memory.Read(s => s.CurrentModePages.Count) > 0) _ = TryRememberAsync();
    }

    /// <summary>
    /// What is in force, for the process that serves the unit next. Initiators believe in it from the answer on, so it is saved before.
    /// </summary>
    public async ValueTask RememberAsync()
    {
        if (_succession == UnitSuccession.None) return;
        // Taken when it is this one's turn to be saved: the last to be saved is what is in force.
        await _memory.UpdateAsync(s => s.CurrentModePages = Current()).ConfigureAwait(false);
    }

    private Dictionary<string, string> Current()
    {
        lock (_gate) return _pages.Where(p => !p.Current.AsSpan().SequenceEqual(p.Saved)).ToDictionary(p => p.Key, p => Convert.ToHexString(p.Current));
    }

    private async Task TryRememberAsync()
    {
        try
        {
            await RememberAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            // The next change of a page is saved with all of them, or refused.
        }
    }

    private static byte[] Merge(ModePage page, ReadOnlySpan<byte> wanted)
    {
        var merged = (byte[])page.Default.Clone();
        for (int i = 2; i < merged.Length; i++) merged[i] = (byte)(merged[i] & ~page.Changeable[i] | wanted[i] & page.Changeable[i]);
        return merged;
    }
}
