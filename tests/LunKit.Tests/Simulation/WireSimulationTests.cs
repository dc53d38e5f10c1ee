using System.Diagnostics;

namespace LunKit.Tests.Simulation;

public class WireSimulationTests
{
    // As many as fit into a few seconds, or as many as are asked for.
    private static readonly TimeSpan s_time = TimeSpan.FromSeconds(8);

    /// <summary>New seeds each time, or the one of LUNKIT_SEED.</summary>
    [Fact]
    public void TheWholePathKeepsItsPromises()
    {
        if (Environment.GetEnvironmentVariable("LUNKIT_SEED") is { } one)
        {
            Run(int.Parse(one, null));
            return;
        }
        int? wanted = Environment.GetEnvironmentVariable("LUNKIT_SIMULATIONS") is { } many ? int.Parse(many, null) : null;
        int first = Random.Shared.Next();
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; wanted is { } count ? i < count : Stopwatch.GetElapsedTime(start) < s_time; i++) Run(first + i & int.MaxValue);
    }

    [Fact]
    public void SameSeedIsTheSameRun()
    {
        static (ulong, long) Once(int seed)
        {
            var simulation = Run(seed);
            return (simulation.World.Fingerprint, simulation.World.Step);
        }
        for (int seed = 4711; seed < 4716; seed++) Assert.Equal(Once(seed), Once(seed));
    }

    private static WireSimulation Run(int seed)
    {
        // Continuations belong to the simulation's own queue.
        var context = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(null);
        var simulation = new WireSimulation(seed);
        try
        {
            simulation.Run(operations: 20 + seed % 150);
        }
        catch (Exception e)
        {
            Assert.Fail($"{e.Message}\nLUNKIT_SEED={seed} shows it again:\n{simulation.World.Trace()}\n{(e is SimulationException ? "" : e.ToString())}");
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(context);
        }
        return simulation;
    }
}
