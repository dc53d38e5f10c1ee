using LunKit.Backstores;
using LunKit.Fabrics;
using LunKit.LogicalUnits;

namespace LunKit.Tests.Fabrics;

public class CompletionQueueTests
{
    private sealed class NumberedTask(int producer, int number) : FabricTask
    {
        public int Producer => producer;

        /// <summary>Its place in the order of its producer.</summary>
        public int Number { get; set; } = number;

        public override DataBuffer RentDataIn(int length) => throw new NotSupportedException();

        private protected override void OnCompleted()
        {
        }
    }

    private static List<int> Take(CompletionQueue<NumberedTask> queue)
    {
        var taken = new List<int>();
        var tasks = queue.Take();
        while (tasks.TryTake(out var task)) taken.Add(task.Number);
        return taken;
    }

    [Fact]
    public void TakesInTheOrderOfCompletionAndOnce()
    {
        var queue = new CompletionQueue<NumberedTask>();
        Assert.True(queue.IsEmpty);
        Assert.Empty(Take(queue));
        var tasks = Enumerable.Range(0, 5).Select(i => new NumberedTask(0, i)).ToList();
        foreach (var task in tasks) queue.Add(task);
        Assert.False(queue.IsEmpty);
        Assert.Equal(5, queue.Take().Count);
        Assert.True(queue.IsEmpty);
        // Links of the time before mean nothing.
        foreach (int i in new[] { 3, 1, 4 }) queue.Add(tasks[i]);
        Assert.Equal([3, 1, 4], Take(queue));
        Assert.Empty(Take(queue));
    }

    /// <summary>A broken owner puts back what it has not looked at; a copy of what was taken still has all of it.</summary>
    [Fact]
    public void CopiesAndTheRest()
    {
        var queue = new CompletionQueue<NumberedTask>();
        for (int i = 0; i < 4; i++) queue.Add(new NumberedTask(0, i));
        var tasks = queue.Take();
        var copy = tasks;
        while (copy.TryTake(out var task)) task.Number += 10;
        Assert.Equal((4, 0), (tasks.Count, copy.Count));
        Assert.True(tasks.TryTake(out var first));
        Assert.Equal((10, 3), (first.Number, tasks.Count));
        while (tasks.TryTake(out var left)) queue.Add(left);
        Assert.Equal([11, 12, 13], Take(queue));
    }

    [Fact]
    public void NothingIsLostBetweenManyThatAdd()
    {
        const int Producers = 4, Each = 20_000;
        var queue = new CompletionQueue<NumberedTask>();
        var next = new int[Producers];
        var threads = Enumerable.Range(0, Producers).Select(p => new Thread(() =>
        {
            for (int i = 0; i < Each; i++) queue.Add(new NumberedTask(p, i));
        })).ToList();
        threads.ForEach(t => t.Start());
        for (long end = Environment.TickCount64 + 20_000; next.Sum() < Producers * Each;)
        {
            Assert.True(Environment.TickCount64 < end, "tasks are missing");
            var tasks = queue.Take();
            while (tasks.TryTake(out var task)) Assert.Equal(next[task.Producer]++, task.Number);
        }
        threads.ForEach(t => t.Join());
        Assert.True(queue.IsEmpty);
    }
}
