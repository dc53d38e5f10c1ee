using LunKit.App.Handle.Bus;

namespace LunKit.Tests.App.DBus;

/// <summary>Messages are found in the bytes whatever the pieces.</summary>
public class DBusFramesTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(16)]
    [InlineData(17)]
    [InlineData(4096)]
    public void PiecesDoNotMatter(int piece)
    {
        byte[] bytes = [.. Enumerable.Range(0, 50).SelectMany(i => FakeBus.Check((uint)i, new string('x', i), noReply: i % 3 == 0))];
        var frames = new MessageFrames();
        var lengths = new List<long>();
        int answered = 0;
        foreach (byte[] part in bytes.Chunk(piece))
        {
            ReadOnlySpan<byte> rest = part;
            while (frames.TryNext(ref rest))
            {
                lengths.Add(frames.Length);
                if (frames.ExpectsReply) answered++;
            }
        }
        Assert.Equal(Enumerable.Range(0, 50).Select(i => (long)FakeBus.Check((uint)i, new string('x', i)).Length), lengths);
        Assert.Equal(33, answered);
        Assert.Equal(0, frames.Remaining);
    }

    [Theory]
    [InlineData(0, 'x')]
    [InlineData(1, 0)]
    [InlineData(3, 2)]
    [InlineData(7, 0xff)]
    [InlineData(15, 0xff)]
    public void WhatIsNoMessageIsRefused(int at, int value)
    {
        byte[] bytes = FakeBus.Check(1, "x");
        bytes[at] = (byte)value;
        Assert.Throws<InvalidDataException>(() =>
        {
            ReadOnlySpan<byte> rest = bytes;
            new MessageFrames().TryNext(ref rest);
        });
    }
}
