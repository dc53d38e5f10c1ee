namespace LunKit.Tests.Simulation;

public class UnitSimulationTests
{
    private static readonly int s_runs = int.Parse(Environment.GetEnvironmentVariable("LUNKIT_SIMULATIONS") ?? "400", null);

    /// <summary>A seed that failed once; or one from LUNKIT_SEED.</summary>
    [Fact]
    public void InitiatorsSeeOneDisk()
    {
        if (Environment.GetEnvironmentVariable("LUNKIT_SEED") is { } one)
        {
            Run(int.Parse(one, null));
            return;
        }
        int first = Random.Shared.Next();
        for (int i = 0; i < s_runs; i++) Run(first + i & int.MaxValue);
    }

    [Fact]
    public void SameSeedIsTheSameRun()
    {
        ulong Once()
        {
            var simulation = new UnitSimulation(4711);
            simulation.Run(200);
            return simulation.World.Fingerprint;
        }
        Assert.Equal(Once(), Once());
    }

    private static void Run(int seed)
    {
        var simulation = new UnitSimulation(seed);
        try
        {
            simulation.Run(operations: 20 + seed % 200);
        }
        catch (Exception e)
        {
            Assert.Fail($"{e.Message}\nLUNKIT_SEED={seed} shows it again:\n{simulation.World.Trace()}\n{(e is SimulationException ? "" : e.ToString())}");
        }
    }
}
