using LunKit.Hosting;
using LunKit.Targets;

namespace LunKit.Tests.Hosting;

/// <summary>A fabric that writes down what it is told, and refuses targets of a name.</summary>
internal sealed class FakeFabric(string name = "fake") : IFabric
{
    public List<string> Log { get; } = [];
    public string? Refuses { get; set; }
    public Dictionary<string, Target> Served { get; } = new(StringComparer.OrdinalIgnoreCase);
    public List<SessionSnapshot> Live { get; } = [];

    public string Name => name;
    public IReadOnlyList<SessionSnapshot> Sessions => Live;

    public void Check(Target target)
    {
        if (target.Name == Refuses) throw new ArgumentException($"{target.Name} is not to be served");
    }

    public void SetTarget(Target target)
    {
        Log.Add($"set {target.Name}: {string.Join(' ', target.Luns.OrderBy(l => l.Key).Select(l => $"{l.Key}={l.Value.Identity.Name}"))}".TrimEnd());
        Served[target.Name] = target;
    }

    public bool RemoveTarget(string target)
    {
        Log.Add($"remove {target}");
        return Served.Remove(target);
    }

    public bool EndSession(string id, string reason)
    {
        Log.Add($"end {id}: {reason}");
        return Live.RemoveAll(s => s.Id == id) > 0;
    }

    public void StopAccepting() => Log.Add("stop accepting");

    public Task DrainAsync()
    {
        Log.Add("drain");
        return Task.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        Log.Add("dispose");
        return ValueTask.CompletedTask;
    }

    /// <summary>What it was told since the last call.</summary>
    public string Told
    {
        get
        {
            string told = string.Join("; ", Log);
            Log.Clear();
            return told;
        }
    }
}
