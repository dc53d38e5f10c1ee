using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi.Sessions;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

/// <summary>
/// Who gets which place: one session for each I_T nexus, and one that goes on when a connection is replaced (RFC 7143 6.3.4, 6.3.5).
/// </summary>
public class SessionTableTests
{
    private const int PowerOn = 0x2900, Reserved = 0x18;

    private static async Task UntilAsync(Func<bool> condition, string what)
    {
        for (int i = 0; !condition(); i++)
        {
            Assert.True(i < 600, what);
            await Task.Delay(50);
        }
    }

    [Fact]
    public async Task LoginsOfOneNexusAtOnceEndInOneSession()
    {
        await using var target = new TestTarget();
        for (int round = 0; round < 20; round++)
        {
            var connections = new List<RawConnection>();
            for (int i = 0; i < 8; i++) connections.Add(await RawConnection.OpenAsync(target));
            var replies = await Task.WhenAll(connections.Select(async c =>
            {
                try
                {
                    return (await c.LoginAsync()).Status;
                }
                catch (Exception e) when (e is IOException or System.Net.Sockets.SocketException)
                {
                    return -1; // replaced before its answer was sent
                }
            }));
            Assert.All(replies, s => Assert.Contains(s, (int[])[0, 0x0301, -1]));
            Assert.Contains(0, replies);
            await UntilAsync(() => target.Server.ConnectionCount <= 1, "replaced connections do not end");
            Assert.Equal(1, target.Server.SessionCount);
            Assert.Single(target.Unit.Nexuses.ToArray());
            connections.ForEach(c => c.Dispose());
        }
    }

    /// <summary>An old session whose thread is stuck in its backstore: it ends when the gate opens.</summary>
    private static async Task<RawConnection> StickAsync(TestTarget target, StuckReads store)
    {
        var old = await RawConnection.OpenAsync(target);
        Assert.Equal(0, (await old.LoginAsync()).Status);
        Assert.Equal(PowerOn, (await old.TestAsync()).Sense);
        await old.CommandAsync(1, Cdbs.Read16(0, 1), read: 512);
        await store.Entered.WaitAsync(TimeSpan.FromSeconds(30));
        return old;
    }

    [Fact]
    public async Task LaterOfTwoLoginsThatWaitGetsThePlace()
    {
        // A machine that stands still lets the logins' time pass: then the attempt says nothing.
        for (int attempt = 0; attempt < 5; attempt++)
            if (await LaterWinsAsync()) return;
        Assert.Fail("the earlier login is never told that it has lost before its time is over, or the later one gets no place");
    }

    private static async Task<bool> LaterWinsAsync()
    {
        using var store = new StuckReads();
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        using var old = await StickAsync(target, store);
        using var first = await RawConnection.OpenAsync(target);
        using var second = await RawConnection.OpenAsync(target);
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        var earlier = first.LoginAsync();
        await UntilAsync(() => target.Server.Connections.Any(c => c.Session is { IsClosed: true }),
            "the first login does not replace the session");
        var later = second.LoginAsync();
        Assert.Equal(0x0301, (await earlier).Status);
        bool soon = System.Diagnostics.Stopwatch.GetElapsedTime(start) < SessionTable.Patience * 0.8;
        store.Open();
        int status = (await later).Status;
        Assert.Contains(status, (int[])[0, 0x0301]);
        if (status == 0) Assert.Equal(1, target.Server.SessionCount);
        return soon && status == 0;
    }

    [Fact]
    public async Task LoginDoesNotWaitLongForASessionThatDoesNotEnd()
    {
        using var store = new StuckReads();
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        using var old = await StickAsync(target, store);
        using var again = await RawConnection.OpenAsync(target);
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        Assert.Equal(0x0301, (await again.LoginAsync()).Status);
        Assert.InRange(System.Diagnostics.Stopwatch.GetElapsedTime(start), TimeSpan.Zero, SessionTable.Patience + TimeSpan.FromSeconds(4));
        Assert.Single(target.Unit.Nexuses.ToArray());
        // The same for a connection of the session, which has been closed by now.
        store.Open();
        await UntilAsync(() => target.Server.SessionCount == 0, "the old session does not end");
        using var fresh = await RawConnection.OpenAsync(target);
        Assert.Equal(0, (await fresh.LoginAsync()).Status);
    }

    [Fact]
    public async Task ConnectionThatIsStuckIsNotReinstatedYet()
    {
        using var store = new StuckReads();
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        using var old = await StickAsync(target, store);
        ushort tsih = target.Server.Connections.Single().Session!.Tsih;
        using var again = await RawConnection.OpenAsync(target, tsih: tsih, cmdSn: old.CmdSn);
        Assert.Equal(0x0301, (await again.LoginAsync()).Status);
        Assert.Single(target.Unit.Nexuses.ToArray());
        store.Open();
        await UntilAsync(() => target.Server is { SessionCount: 0, ConnectionCount: 0 }, "the session stays without a connection");
        Assert.Empty(target.Unit.Nexuses.ToArray());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task ConnectionIsReinstatedAndTheSessionGoesOn(int level)
    {
        await using var target = new TestTarget(new() { QueueDepth = 8, LogoutTimeoutSeconds = 1 });
        using var old = await RawConnection.OpenAsync(target);
        var login = await old.LoginAsync($"ErrorRecoveryLevel={level}", "InitialR2T=Yes", "ImmediateData=No");
        Assert.Equal(PowerOn, (await old.TestAsync()).Sense);
        // What the nexus holds: a reservation (RESERVE(6)), and a write whose data is still to come.
        Assert.Equal(0, (await old.TestAsync([0x16, 0, 0, 0, 0, 0])).Status);
        await old.CommandAsync(0x77, Cdbs.Write16(0, 8), write: 4096);
        Assert.Equal(PduOpcode.ReadyToTransfer, (await old.ReceiveAsync()).Opcode);
        using var fresh = await RawConnection.OpenAsync(target, tsih: login.Tsih, cmdSn: old.CmdSn);
        var again = await fresh.LoginAsync();
        Assert.Equal((0, login.Tsih), (again.Status, again.Tsih));
        Assert.Equal(1, target.Server.SessionCount);
        await UntilAsync(() => target.Server.ConnectionCount == 1, "the old connection stays");
        // The numbers go on.
        Assert.Equal(old.CmdSn, new Bhs(again.Header).ExpCmdSn);
        Assert.False(target.Unit.Tasks.Any(_ => true));
        // No unit attention, for the nexus was not lost; and it still has its reservation.
        Assert.Equal((0, 0), await fresh.TestAsync());
        using var other = await RawConnection.OpenAsync(target, isid: 0x8000_0000_0099);
        await other.LoginAsync();
        await other.TestAsync();
        Assert.Equal(Reserved, (await other.TestAsync()).Status);
        // And again, on and on; the whole window is free, what the lost write held of it came back.
        using var third = await RawConnection.OpenAsync(target, tsih: login.Tsih, cmdSn: fresh.CmdSn);
        var last = await third.LoginAsync();
        Assert.Equal((0, fresh.CmdSn + 7), (last.Status, new Bhs(last.Header).MaxCmdSn));
        Assert.Equal((0, 0), await third.TestAsync());
        Assert.True(await fresh.IsClosedAsync());
    }

    [Fact]
    public async Task LostConnectionOfTwoIsReinstatedBesideTheOther()
    {
        await using var target = new TestTarget();
        using var leading = await RawConnection.OpenAsync(target);
        var login = await leading.LoginAsync("MaxConnections=2");
        await leading.TestAsync();
        using var second = await RawConnection.OpenAsync(target, tsih: login.Tsih, cid: 2);
        Assert.Equal(0, (await second.LoginAsync()).Status);
        using var third = await RawConnection.OpenAsync(target, tsih: login.Tsih, cid: 3);
        Assert.Equal(0x0206, (await third.LoginAsync()).Status);
        using var again = await RawConnection.OpenAsync(target, tsih: login.Tsih, cid: 2, cmdSn: leading.CmdSn);
        Assert.Equal(0, (await again.LoginAsync()).Status);
        Assert.True(await second.IsClosedAsync());
        Assert.Equal((0, 0), await again.TestAsync());
        leading.CmdSn = again.CmdSn;
        Assert.Equal((0, 0), await leading.TestAsync());
        Assert.Equal(1, target.Server.SessionCount);
    }

    [Theory]
    [InlineData(0, 0x0000, "iqn.2026-11.test:raw")] // another session of another port: nothing to join
    [InlineData(1, 0x020A, "iqn.2026-11.test:raw")]
    [InlineData(0x7777, 0x020A, "iqn.2026-11.test:raw")]
    [InlineData(-1, 0x020A, "iqn.2026-11.test:other")] // the handle alone opens nothing
    public async Task HandlesOfOthersJoinNothing(int tsih, int expected, string name)
    {
        await using var target = new TestTarget();
        using var owner = await RawConnection.OpenAsync(target, isid: 0x8000_0000_0043);
        var login = await owner.LoginAsync("MaxConnections=4");
        await owner.TestAsync();
        using var other = await RawConnection.OpenAsync(target, tsih: tsih < 0 ? login.Tsih : (ushort)tsih, cid: 2, name: name,
            isid: tsih < 0 ? 0x8000_0000_0043UL : 0x8000_0000_0042);
        Assert.Equal(expected, (await other.LoginAsync()).Status);
        Assert.Equal((0, 0), await owner.TestAsync());
    }

    [Fact]
    public async Task NamesThatDifferInCaseAreOneNexus()
    {
        await using var target = new TestTarget();
        using var lower = await RawConnection.OpenAsync(target, name: "iqn.2026-11.test:host");
        await lower.LoginAsync();
        await lower.TestAsync();
        using var upper = await RawConnection.OpenAsync(target, name: "IQN.2026-11.Test:HOST", isid: 0x8000_0000_0042);
        Assert.Equal(0, (await upper.LoginAsync()).Status);
        Assert.True(await lower.IsClosedAsync());
        Assert.Equal(1, target.Server.SessionCount);
        var nexus = Assert.Single(target.Unit.Nexuses.ToArray()).Nexus;
        Assert.Equal(("iqn.2026-11.test:host", "iqn.2026-11.test:host,i,0x800000000042"), (nexus.InitiatorName, nexus.InitiatorPort));
    }

    /// <summary>A reservation is the nexus's, however its name is written.</summary>
    [Fact]
    public async Task ReservationSurvivesAnotherSpellingOfTheName()
    {
        await using var target = new TestTarget();
        byte[] Parameters(ulong key, ulong newKey)
        {
            var list = new byte[24];
            System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(list, key);
            System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), newKey);
            return list;
        }
        byte[] Cdb(byte action, byte type) => [0x5F, action, type, 0, 0, 0, 0, 0, 24, 0];
        using var first = await RawConnection.OpenAsync(target, name: "iqn.2026-11.test:host", isid: 0x8000_0000_CD01);
        await first.LoginAsync();
        await first.TestAsync();
        Assert.Equal((0, 0), await first.TestAsync(Cdb(0, 0), 24, Parameters(0, 0xA1)));
        Assert.Equal((0, 0), await first.TestAsync(Cdb(1, 3), 24, Parameters(0xA1, 0)));
        first.Dispose();
        using var again = await RawConnection.OpenAsync(target, name: "iqn.2026-11.TEST:Host", isid: 0x8000_0000_CD01);
        await again.LoginAsync();
        await again.TestAsync();
        Assert.Equal((0, 0), await again.TestAsync(Cdbs.Write16(0, 1), 512, new byte[512]));
    }

    [Fact]
    public async Task AnotherUserTakesNoSessionOver()
    {
        ChapCredential alice = new("alice", "correct horse battery"), bob = new("bob", "staple and some more");
        await using var target = new TestTarget(chap: alice);
        target.Server.SetTarget(target.Target with { Chap = [alice, bob] });
        var owner = await target.ConnectAsync(target.Options with { Chap = alice, MaxConnections = 2 });
        foreach (ushort handle in (ushort[])[0, owner.SessionHandle])
        {
            var refused = await Assert.ThrowsAsync<IscsiLoginException>(() => IscsiInitiator.ConnectAsync(
                target.Options with { Chap = bob, SessionHandle = handle, ConnectionId = 1 }));
            Assert.Equal(handle == 0 ? 0x0301 : 0x0202, refused.Status);
        }
        Assert.Equal(LunKit.Scsi.ScsiStatus.Good, (await owner.ExecuteAsync(0, new byte[6])).Status);
        // A user that may no longer log in holds nothing.
        target.Server.SetTarget(target.Target with { Chap = [bob] });
        await target.ConnectAsync(target.Options with { Chap = bob });
        Assert.Equal(1, target.Server.SessionCount);
    }

    /// <summary>
    /// An initiator that closes its connection and comes back, as another port, finds what it held gone: its login waits for that. Where its tasks
    /// wait for a new connection (error recovery level 2) nothing will be gone soon, and it does not.
    /// </summary>
    [Theory]
    [InlineData(0, true)]
    [InlineData(1, true)]
    [InlineData(2, false)]
    public void ALoginWaitsForAConnectionThatItsInitiatorHasClosed(int level, bool waits)
    {
        var target = new SteppedTarget();
        var old = target.LogIn(keys: new() { ["ErrorRecoveryLevel"] = $"{level}" });
        old.Streams.Close();
        var fresh = target.Connect();
        fresh.AskToLogIn(0, 1, 0x8000_0000_0002, 1);
        fresh.Step();
        Assert.Equal(waits, fresh.Streams.Waiting == 0);
        old.Step();
        Assert.Equal(waits, old.Connection.HasEnded);
        fresh.Step();
        fresh.TakeLogIn();
        Assert.Equal(waits ? 1 : 2, target.Server.SessionCount);
    }

    /// <summary>Reads hold their caller's thread until the gate is opened.</summary>
    private sealed class StuckReads : IBackstore, IDisposable
    {
        private readonly ManualResetEventSlim _open = new();
        private readonly TaskCompletionSource _entered = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Entered => _entered.Task;
        public BackstoreGeometry Geometry { get; } = new(1 << 20);
        public BackstoreFeatures Features => BackstoreFeatures.Concurrent;

        public void Open() => _open.Set();

        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
        {
            _entered.TrySetResult();
            _open.Wait(TimeSpan.FromSeconds(60), CancellationToken.None);
            return ValueTask.CompletedTask;
        }

        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => ValueTask.CompletedTask;
        public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
        public void Dispose() => _open.Set();
    }
}
