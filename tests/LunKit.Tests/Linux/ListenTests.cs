using System.Net.Sockets;
using LunKit.Linux;

namespace LunKit.Tests.Linux;

/// <summary>Who listens at a path, and what happens to what lies there.</summary>
public sealed class ListenTests : IDisposable
{
    private const UnixFileMode Mine = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("lunkit-listen");

    private string Place => Path.Combine(_folder.FullName, "handlers.sock");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void OneAtATime()
    {
        using (UnixChannel.Listen(Place, Mine))
        {
            Assert.Equal(SocketError.AddressAlreadyInUse, Assert.Throws<SocketException>(() => UnixChannel.Listen(Place, Mine)).SocketErrorCode);
            UnixChannel.Connect(Place).Dispose();
            // Also when somebody has deleted its socket: the second one's would be deleted by the end of the first.
            File.Delete(Place);
            Assert.Throws<SocketException>(() => UnixChannel.Listen(Place, Mine));
        }
        using var next = UnixChannel.Listen(Place, Mine);
        UnixChannel.Connect(Place).Dispose();
    }

    /// <summary>Two that find a dead one's socket do not delete each other's.</summary>
    [Fact]
    public void ADeadOnesPlaceIsTakenByOne()
    {
        for (int round = 0; round < 50; round++)
        {
            using (var dead = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified))
            {
                // Closed without .NET's knowledge of the path, as a killed process is.
                string moved = Place + ".moved";
                dead.Bind(new UnixDomainSocketEndPoint(moved));
                File.Move(moved, Place, overwrite: true);
            }
            using var go = new Barrier(2);
            var listeners = new UnixChannel?[2];
            Parallel.For(0, 2, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
            {
                go.SignalAndWait(TimeSpan.FromSeconds(1));
                try
                {
                    listeners[i] = UnixChannel.Listen(Place, Mine);
                }
                catch (SocketException)
                {
                    // The other one has it.
                }
            });
            var there = Assert.Single(listeners, l => l is not null)!;
            UnixChannel.Connect(Place).Dispose();
            there.Dispose();
            Assert.False(File.Exists(Place));
        }
    }

    [Fact]
    public void WhatIsNoSocketStays()
    {
        File.WriteAllText(Place, "precious");
        Assert.Throws<SocketException>(() => UnixChannel.Listen(Place, Mine));
        Assert.Equal("precious", File.ReadAllText(Place));
    }
}
