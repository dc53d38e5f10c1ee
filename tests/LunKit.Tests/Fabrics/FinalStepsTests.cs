using LunKit.Fabrics;

namespace LunKit.Tests.Fabrics;

public class FinalStepsTests
{
    [Fact]
    public void EachIsBegunOnceWhateverBecomesOfTheOthers()
    {
        var done = new List<string>();
        FinalSteps steps = null!;
        steps = new FinalSteps(
            () => done.Add("first"),
            () => throw new IOException("second"),
            // From inside: what is left is done, and not again.
            () => steps.Run(e => done.Add(e.Message)),
            () => throw new InsufficientMemoryException("fourth"),
            () => done.Add("last"));
        steps.Run(e =>
        {
            done.Add(e.Message);
            throw new InvalidOperationException("the log fails, too");
        });
        steps.Run(e => done.Add(e.Message));
        Assert.Equal(["first", "second", "fourth", "last"], done);
    }
}
