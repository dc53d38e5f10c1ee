using System.Buffers.Binary;
using System.Net;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using Xunit;

namespace LunKit.Conformance;

/// <summary>
/// Writes and reads without a pause, several commands at once, and checks every answer and every byte until it is told to stop. Each worker
/// has blocks of its own. Returns the number of commands.
/// </summary>
internal sealed class VerifiedLoad : IAsyncDisposable
{
    /// <summary>Longer than any pause that a test asks for, on a machine that does much else; a command that is lost is noticed all the same.</summary>
    private const int LimitSeconds = 60;

    private const int Blocks = 4096, Depth = 8;

    private static readonly Sense s_internalReset = new(SenseKey.UnitAttention, 0x29, 0x04);

    private readonly List<IscsiInitiator> _initiators = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly uint[] _latest = new uint[Blocks];
    private Task[] _workers = [];
    private int _commands, _resets;
    private bool _takesResets;

    public int Commands => Volatile.Read(ref _commands);

    /// <summary>What the first worker that failed says, or null.</summary>
    public string? Failure => _workers.FirstOrDefault(w => w.IsFaulted)?.Exception!.InnerException!.Message;

    /// <summary>Times that it was told of an internal reset (29h/04h).</summary>
    public int Resets => Volatile.Read(ref _resets);

    /// <summary>Starts it.</summary>
    /// <param name="port">Port of the server.</param>
    /// <param name="takesResets">Whether a command that ends with DEVICE INTERNAL RESET is sent again; else it is a failure.</param>
    public static async Task<VerifiedLoad> StartAsync(int port, bool takesResets = false)
    {
        var load = new VerifiedLoad { _takesResets = takesResets };
        var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, port), TargetName = LunKitProcess.Iqn, TimeoutSeconds = LimitSeconds });
        load._initiators.Add(initiator);
        await initiator.ExecuteAsync(0, new byte[6], null, 0);
        load._workers = [.. Enumerable.Range(0, Depth).Select(i => load.WorkAsync(initiator, i))];
        return load;
    }

    private async Task WorkAsync(IscsiInitiator initiator, int worker)
    {
        await Task.Yield();
        var random = new Random(worker);
        uint generation = 0;
        while (!_stop.IsCancellationRequested)
        {
            // From one block to 64 KiB, so that data goes every way through the target.
            int count = random.Next(4) == 0 ? 128 : random.Next(1, 17), share = Blocks / Depth, lba = worker * share + random.Next(share - count);
            generation++;
            if (random.Next(3) > 0)
            {
                await RunAsync(initiator, 0x2A, lba, count, Pattern(lba, count, _ => generation), 0);
                for (int i = 0; i < count; i++) _latest[lba + i] = generation;
            }
            else
            {
                var data = await RunAsync(initiator, 0x28, lba, count, null, count * 512);
                Assert.True(data.AsSpan().SequenceEqual(Pattern(lba, count, i => _latest[i])), $"blocks from {lba} are not what was written");
            }
            Interlocked.Increment(ref _commands);
        }
    }

    private async Task<byte[]> RunAsync(IscsiInitiator initiator, byte opcode, int lba, int count, byte[]? dataOut, int dataIn)
    {
        byte[] cdb = [opcode, 0, 0, 0, (byte)(lba >> 8), (byte)lba, 0, (byte)(count >> 8), (byte)count, 0];
        var answer = await initiator.ExecuteAsync(0, cdb, dataOut, dataIn);
        while (_takesResets && answer.Status == ScsiStatus.CheckCondition && answer.SenseCode == s_internalReset)
        {
            Interlocked.Increment(ref _resets);
            answer = await initiator.ExecuteAsync(0, cdb, dataOut, dataIn);
        }
        Assert.True(answer.Status == ScsiStatus.Good, $"command {opcode:x2} of block {lba} ended with {answer.Status} {answer.SenseCode}");
        return answer.Data;
    }

    private static byte[] Pattern(int lba, int count, Func<int, uint> generation)
    {
        var data = new byte[count * 512];
        for (int i = 0; i < count; i++)
        {
            uint g = generation(lba + i);
            for (int at = i * 512; g != 0 && at < (i + 1) * 512; at += 8)
            {
                BinaryPrimitives.WriteInt32LittleEndian(data.AsSpan(at), lba + i);
                BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(at + 4), g);
            }
        }
        return data;
    }

    /// <summary>Waits until so many commands more were answered.</summary>
    public async Task ProgressAsync(int commands, int limitSeconds = LimitSeconds)
    {
        int goal = Commands + commands;
        for (long end = Environment.TickCount64 + limitSeconds * 1000; Commands < goal && Failure is null;)
        {
            Assert.True(Environment.TickCount64 < end, $"only {Commands} of {goal} commands are answered");
            await Task.Delay(2);
        }
    }

    /// <summary>Stops, and reads everything once more.</summary>
    public async Task FinishAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_workers).WaitAsync(TimeSpan.FromSeconds(LimitSeconds));
        for (int lba = 0; lba < Blocks; lba += 128)
        {
            var data = await RunAsync(_initiators[0], 0x28, lba, 128, null, 128 * 512);
            Assert.True(data.AsSpan().SequenceEqual(Pattern(lba, 128, i => _latest[i])), $"blocks from {lba} are not what was written");
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        foreach (var initiator in _initiators) await initiator.DisposeAsync();
        _stop.Dispose();
    }
}
