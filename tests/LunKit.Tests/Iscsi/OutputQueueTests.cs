using LunKit.Iscsi.Sessions;

namespace LunKit.Tests.Iscsi;

/// <summary>The output of a connection that is lost while commands still fill parts of it.</summary>
public class OutputQueueTests
{
    [Fact]
    public void WhatACommandFillsIsNotUsedAgain()
    {
        var queue = new OutputQueue(new BufferPool());
        queue.Grow();
        int at = queue.Reserve(4096);
        var chunk = queue.Current;
        queue.Detach(at);
        queue.Append(100);
        queue.Discard();
        Assert.Equal(0, queue.Pending);
        int next = queue.Reserve(4096);
        Assert.Same(chunk, queue.Current);
        Assert.True(next >= at + 4096, $"{next} is inside the part of a command");
        // When the command has given its part back, all is used again.
        queue.Return(chunk);
        queue.Discard();
        Assert.Equal(0, queue.Reserve(4096));
        Assert.Equal(4096, queue.Pending);
    }
}
