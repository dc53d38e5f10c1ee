using LunKit.Fuzz;

namespace LunKit.Tests.Fuzz;

/// <summary>Every corpus file, and some thousand mutations of them with a fixed seed, on every run.</summary>
public class FuzzReplayTests
{
    [Theory]
    [InlineData("cdb", 20000)]
    [InlineData("login", 20000)]
    [InlineData("text", 20000)]
    [InlineData("pdu", 300)]
    [InlineData("ring", 20000)]
    [InlineData("producer", 20000)]
    [InlineData("config", 5000)]
    public async Task NothingIsFound(string name, int mutations)
    {
        var target = FuzzTarget.All.Single(t => t.Name == name);
        var corpus = FuzzTarget.CorpusOf(target).Select(File.ReadAllBytes).ToList();
        Assert.NotEmpty(corpus);
        // The targets wait for their own work: not on the thread that runs other tests.
        await Task.Factory.StartNew(() =>
        {
            foreach (var input in corpus) target.Run(input);
            var mutator = new Mutator(corpus, seed: 1);
            for (int i = 0; i < mutations; i++)
            {
                var input = mutator.Next();
                try
                {
                    target.Run(input);
                }
                catch (Exception e)
                {
                    Assert.Fail($"mutation {i}: {Convert.ToHexString(input)}\n{e}");
                }
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    [Fact]
    public void TheCanaryDies()
    {
        var canary = new CanaryTarget();
        var mutator = new Mutator(["do not"u8.ToArray()], seed: 1);
        Assert.ThrowsAny<InvalidOperationException>(() =>
        {
            for (int i = 0; i < 1_000_000; i++) canary.Run(mutator.Next());
        });
    }
}
