using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using LunKit.Linux;
using LunKit.Tcmu.Ring;

namespace LunKit.Benchmarks;

/// <summary>
/// The target's side: keeps so many READ(10) of one block in the ring, and counts their completions. Every block carries the number of its command:
/// one that does not is an error of memory ordering.
/// </summary>
internal static class RingTarget
{
    private const int RingBytes = 256 * 1024, Block = 4096, MaxCommands = 1024;

    // Until the runtime has compiled both ends with what it has seen them do: pinned and never idle, that takes it a few seconds.
    private const double WarmSeconds = 5;

    public static int Run(int depth, double seconds)
    {
        string path = $"@lunkit-bench-{Environment.ProcessId}";
        using var listener = UnixChannel.Listen(path, UnixFileMode.None);
        using var wake = new EventFd();
        // Each side has a processor of its own (bench/ring pins this one): where the scheduler puts them decides more than what they do.
        using var handler = Process.Start("taskset", ["-c", "1", Environment.ProcessPath!, Environment.GetCommandLineArgs()[0], "ring-handler", path]);
        UnixChannel? channel;
        while ((channel = listener.Accept()) is null) listener.Wait(wake, 100);
        using var file = new MemoryFile("bench", RingBytes + MaxCommands * Block);
        using var toHandler = new EventFd();
        using var toTarget = new EventFd();
        IDisposable mapping = new MappedRegion(file.Handle, RingBytes + MaxCommands * Block);
        var region = ((MappedRegion)mapping).Memory;
        var producer = new RingProducer(region, RingBytes, MaxCommands, (MailboxFlags)0xF | MailboxFlags.Origin | MailboxFlags.Watch);
        channel.Send(BitConverter.GetBytes(region.Length), file.Handle, toHandler.Handle, toTarget.Handle);
        var loop = new Loop(producer, region, toHandler, toTarget, depth);
        loop.RunFor(WarmSeconds);
        // Once, and once more for every line that comes in.
        do
        {
            loop.Completed = 0;
            long start = Stopwatch.GetTimestamp();
            loop.RunFor(seconds);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{loop.Completed / Stopwatch.GetElapsedTime(start).TotalSeconds:F0}"));
        }
        while (Console.ReadLine() is not null);
        channel.Dispose();
        handler.Kill();
        handler.WaitForExit();
        return loop.Errors == 0 ? 0 : 1;
    }

    private sealed class Loop(RingProducer producer, Memory<byte> region, EventFd toHandler, EventFd toTarget, int depth)
    {
        private readonly byte[] _cdb = new byte[16];
        private readonly byte[] _sense = new byte[96];
        private readonly int[] _slotOf = new int[MaxCommands + 1];
        private readonly uint[] _numberOf = new uint[MaxCommands + 1];
        private readonly int[] _free = [.. Enumerable.Range(0, depth)];
        private int _freeCount = depth;
        private readonly SpinBudget _spin = new();
        private readonly Func<int> _look = () => producer.HasCompletions ? 0 : -1;
        private uint _number;

        public long Completed { get; set; }
        public int Errors { get; private set; }

        public void RunFor(double seconds)
        {
            long end = Stopwatch.GetTimestamp() + (long)(seconds * Stopwatch.Frequency);
            while (Stopwatch.GetTimestamp() < end)
            {
                Post();
                if (!producer.HasCompletions && _spin.Look(_look) < 0)
                {
                    producer.Say(Watch.Sleeps);
                    if (!producer.HasCompletions) toTarget.Wait(100);
                    producer.Say(Watch.Looks);
                }
                Take();
            }
        }

        private void Post()
        {
            while (_freeCount > 0)
            {
                int slot = _free[--_freeCount];
                var run = new DataRun(RingBytes + slot * Block, Block);
                // In one store, as it is read: a copy that had to wait for several would wait for all stores before them, the ring's too.
                uint n = BinaryPrimitives.ReverseEndianness(++_number);
                MemoryMarshal.Write(_cdb, Vector128.Create(0x28 | (ulong)n << 16, 8UL));
                ushort id = producer.TryPost(_cdb.AsSpan(0, 10), new ReadOnlySpan<DataRun>(in run), 0, new CommandOriginAbi { Initiator = 1, Tag = _number })!.Value;
                (_slotOf[id], _numberOf[id]) = (slot, _number);
            }
            if (producer.Publish()) toHandler.Signal();
        }

        private void Take()
        {
            var span = region.Span;
            while (producer.TryTake(_sense, out var completion))
            {
                int slot = _slotOf[completion.Id];
                if (BitConverter.ToUInt32(span[(RingBytes + slot * Block)..]) != _numberOf[completion.Id]) Errors++;
                _free[_freeCount++] = slot;
                Completed++;
            }
        }
    }
}
