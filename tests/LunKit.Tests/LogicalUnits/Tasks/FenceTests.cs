using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>
/// PERSISTENT RESERVE OUT that takes somebody's registration away: what passed the old reservation does not land behind the answer (SPC-5 5.14.11).
/// </summary>
public class FenceTests
{
    private static string Out(UnitBench bench, int nexus, int action, ulong key, ulong actionKey, int type = 0) =>
        bench.Answer(nexus, $"5F {action:X2} {type:X2} 00 00 00000018 00", List(key, actionKey));

    private static byte[] List(ulong key, ulong actionKey)
    {
        var list = new byte[24];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(list, key);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), actionKey);
        return list;
    }

    private static UnitBench Bench(bool tas)
    {
        var bench = new UnitBench(new GatedStore { Gated = "write" });
        var page = bench.Unit.ModePages.Find(0x0A, 0)!;
        var wanted = (byte[])page.Current.Clone();
        wanted[5] = (byte)(tas ? 0x40 : 0);
        bench.Unit.ModePages.Apply([(page, wanted)], save: false);
        // Nexus 0 has the key 10 and nexus 1 the key 11; write exclusive, registrants only.
        Assert.Equal("Good", Out(bench, 0, 0, 0, 10));
        Assert.Equal("Good", Out(bench, 1, 0, 0, 11));
        Assert.Equal("Good", Out(bench, 1, 1, 11, 0, 5));
        return bench;
    }

    [Theory]
    [InlineData(4, false, "Good", "Good")] // PREEMPT
    [InlineData(4, true, "Good", "Good")]
    [InlineData(5, false, "silence", "silence")] // PREEMPT AND ABORT
    [InlineData(5, true, "TaskAborted", "TaskAborted")]
    [InlineData(3, false, "Good", "Good")] // CLEAR
    public async Task TheAnswerIsBehindTheCommandsOfTheVictim(int action, bool tas, string toldRunning, string toldEnded)
    {
        await using var bench = Bench(tas);
        var running = bench.Write("running", 1, 5, fabric: bench.B);
        var ended = bench.Write("ended", 1, 6, fabric: bench.B);
        bench.Store.Release("write 6+1");
        var waiting = bench.Write("waiting", 1, 7, attribute: TaskAttribute.Ordered, fabric: bench.B);
        var own = bench.Write("own", 0, 8);
        Assert.Equal((TaskState.Running, TaskState.Ended, TaskState.Blocked), (running.State, ended.State, waiting.State));
        var fence = bench.Send("fence", 0, $"5F {action:X2} 05 00 00 00000018 00", List(10, 11), TaskAttribute.HeadOfQueue);
        bench.Settle();
        Assert.Null(fence.Answer);
        Assert.Equal(toldEnded, ended.Answer);
        bench.Release("write 5+1");
        Assert.Equal(toldRunning, running.Answer);
        Assert.Equal("Good", fence.Answer);
        Assert.Equal("fence Good", bench.Events[^1]);
        bench.Store.Gated = "";
        while (bench.Store.Waiting.Count > 0) bench.Release(bench.Store.Waiting[0]);
        Assert.Equal("Good", own.Answer);
        // What waited is checked again: a conflict comes before the unit attention (SAM-6 5.3.3), and after CLEAR there is none.
        Assert.Equal(action switch { 3 => "06/2A/03", 4 => "ReservationConflict", _ => toldRunning }, waiting.Answer);
        Assert.DoesNotContain("write 7+1", bench.Store.TakeLog());
        if (action == 3) return;
        bench.Attention(1);
        Assert.Equal("ReservationConflict", bench.Answer(1, "2A 00 00000005 00 0001 00", UnitBench.Filled(1, 1)));
    }

    /// <summary>Scope and type count only where the reservation is taken over.</summary>
    [Theory]
    [InlineData(0x15, "05/24/00 @2.7")]
    [InlineData(0x02, "05/24/00 @2.3")]
    [InlineData(0x05, "Good")]
    public async Task WhoTakesOverNamesAType(int type, string answer)
    {
        await using var bench = Bench(false);
        Assert.Equal(answer, bench.AnswerWithField(0, $"5F 04 {type:X2} 00 00 00000018 00", List(10, 11)));
        bench.Store.Gated = "";
    }
}
