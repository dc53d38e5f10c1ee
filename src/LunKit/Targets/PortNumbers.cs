namespace LunKit.Targets;

/// <summary>
/// Relative target port identifiers (SPC-5 3.1.120): one for each target port, unique over all targets, because a unit may be reached through several of
/// them, and its reservations and access states name a port by this number only. A port keeps its number when its target is removed and added again.
/// Thread safe.
/// </summary>
public sealed class PortNumbers
{
    private const int Last = 65535;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, int> _byName = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<int> _taken = [];

    /// <summary>Numbers that are known from before.</summary>
    /// <param name="known">Number by SCSI port name. Throws <see cref="ArgumentException"/> when one is no number of a port, or stands twice.</param>
    public PortNumbers(IReadOnlyDictionary<string, int>? known = null)
    {
        foreach (var (name, number) in known ?? new Dictionary<string, int>())
        {
            if (number is < 1 or > Last) throw new ArgumentException($"port {name}: {number} is no relative target port identifier (1 to {Last})", nameof(known));
            if (!_taken.Add(number)) throw new ArgumentException($"port {name}: the relative target port identifier {number} is another port's", nameof(known));
            _byName.Add(name, number);
        }
    }

    /// <summary>Number by port name, at this moment.</summary>
    public IReadOnlyDictionary<string, int> All
    {
        get
        {
            lock (_gate) return new Dictionary<string, int>(_byName, StringComparer.OrdinalIgnoreCase);
        }
    }

    /// <summary>The number of a port. A new port gets <paramref name="wanted"/>, or the lowest that is free.</summary>
    /// <param name="portName">SCSI port name, in any case of letters.</param>
    /// <param name="wanted">1 to 65535; for iSCSI the target portal group tag.</param>
    /// <exception cref="InvalidOperationException">All numbers are taken.</exception>
    public int Of(string portName, int wanted)
    {
        lock (_gate)
        {
            if (_byName.TryGetValue(portName, out int number)) return number;
            number = wanted;
            if (number is < 1 or > Last || _taken.Contains(number))
                for (number = 1; _taken.Contains(number); number++)
                    if (number == Last) throw new InvalidOperationException($"all {Last} relative target port identifiers are taken");
            _taken.Add(number);
            _byName.Add(portName, number);
            return number;
        }
    }
}
