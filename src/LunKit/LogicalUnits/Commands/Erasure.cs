using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>FORMAT UNIT (SBC-4 5.4) and SANITIZE (5.30).</summary>
internal static class Erasure
{
    // Small enough that progress moves and a stop is prompt.
    private const long MaxStepBytes = 64L << 20, MinStepBytes = 1L << 20;

    public static long FormatDataOut(int blockSize, ReadOnlySpan<byte> cdb) => (cdb[1] & 0x10) == 0 ? 0 : (cdb[1] & 0x20) != 0 ? 8 : 4;

    public static ValueTask<CommandResult> Format(BlockUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool hasList = (cdb[1] & 0x10) != 0, longList = (cdb[1] & 0x20) != 0, immediate = false;
        if (cdb[1] >> 6 != 0) return DataIn.InvalidCdb(1, 7);     // FMTPINFO: no protection information
        if (hasList && (cdb[1] & 0x07) != 0) return DataIn.InvalidCdb(1, 2); // defect lists are not taken
        if (hasList)
        {
            var list = command.DataOut.ToArray();
            if (list.Length < (longList ? 8 : 4)) return DataIn.Check(Sense.ParameterListLengthError);
            if ((list[0] & 0x07) != 0) return new(CommandResult.InvalidParameterField(0, 2));
            // FOV with any of its options: a virtual medium has none of them; an initialization pattern is not taken.
            if ((list[1] & 0x7C) != 0) return new(CommandResult.InvalidParameterField(1, 6));
            if (list.AsSpan(2).ContainsAnyExcept((byte)0)) return new(CommandResult.InvalidParameterField(2));
            immediate = (list[1] & 0x02) != 0;
        }
        return Start(unit, command, immediate,
            unit.Background.TryStart("FORMAT UNIT", isSanitize: false, mayExit: false, (progress, stop) => DiscardAllAsync(unit, progress, stop)));
    }

    public static long OverwriteDataOut(int blockSize, ReadOnlySpan<byte> cdb) => BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]);

    /// <summary>OVERWRITE: a pattern, count times, each pass inverted if asked.</summary>
    public static ValueTask<CommandResult> Overwrite(BlockUnit unit, ScsiCommand command)
    {
        int declared = BinaryPrimitives.ReadUInt16BigEndian(command.Cdb[7..]);
        var list = command.DataOut.ToArray();
        if (declared <= 4 || declared > 4 + unit.BlockSize) return DataIn.InvalidCdb(7);
        if (list.Length < declared) return DataIn.Check(Sense.ParameterListLengthError);
        bool invert = (list[0] & 0x80) != 0;
        int test = list[0] >> 5 & 3, passes = list[0] & 0x1F, length = BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(2));
        if (test != 0) return new(CommandResult.InvalidParameterField(0, 6));
        if (passes == 0) return new(CommandResult.InvalidParameterField(0, 4));
        if (length == 0 || length > unit.BlockSize || length != declared - 4) return new(CommandResult.InvalidParameterField(2));
        var pattern = list.AsSpan(4, length).ToArray();
        return Sanitize(unit, command, "SANITIZE OVERWRITE", (progress, stop) => OverwriteAsync(unit, pattern, passes, invert, progress, stop));
    }

    public static ValueTask<CommandResult> BlockErase(BlockUnit unit, ScsiCommand command) =>
        WithoutList(unit, command, "SANITIZE BLOCK ERASE");

    /// <summary>
    /// CRYPTOGRAPHIC ERASE: what is stored can no longer be read. There is no key to change, so the blocks are erased; the
    /// initiator cannot tell the two apart.
    /// </summary>
    public static ValueTask<CommandResult> CryptographicErase(BlockUnit unit, ScsiCommand command) =>
        WithoutList(unit, command, "SANITIZE CRYPTOGRAPHIC ERASE");

    private static ValueTask<CommandResult> WithoutList(BlockUnit unit, ScsiCommand command, string name) =>
        BinaryPrimitives.ReadUInt16BigEndian(command.Cdb[7..]) != 0
            ? DataIn.InvalidCdb(7)
            : Sanitize(unit, command, name, (progress, stop) => DiscardAllAsync(unit, progress, stop));

    public static async ValueTask<CommandResult> ExitFailureMode(BlockUnit unit, ScsiCommand command)
    {
        if (BinaryPrimitives.ReadUInt16BigEndian(command.Cdb[7..]) != 0) return CommandResult.InvalidCdbField(7);
        if (unit.Background is { IsActive: true, IsFailed: false }) return CommandResult.CheckCondition(unit.Background.Sense);
        return await unit.Background.TryExitFailureAsync().ConfigureAwait(false) ? CommandResult.Good : CommandResult.InvalidCdbField(1, 5);
    }

    private static ValueTask<CommandResult> Sanitize(
        BlockUnit unit, ScsiCommand command, string name, Func<IProgress<double>, CancellationToken, Task> work)
    {
        if (!unit.RemembersErasure) return DataIn.InvalidCdb(1, 4);
        bool immediate = (command.Cdb[1] & 0x80) != 0, mayExit = (command.Cdb[1] & 0x20) != 0;
        return Start(unit, command, immediate, unit.Background.TryStart(name, isSanitize: true, mayExit, work));
    }

    /// <summary>The command had all blocks for itself until here, so that nothing older lands on what is erased; newer ones find the unit not ready.</summary>
    private static async ValueTask<CommandResult> Start(BlockUnit unit, ScsiCommand command, bool immediate, (Task Started, Task Ended)? operation)
    {
        unit.Tasks.EndExclusive(command);
        if (operation is not { } running) return CommandResult.CheckCondition(unit.Background.Sense);
        await running.Started.ConfigureAwait(false);
        // An abort ends the command, not the operation (SBC-4 4.11.3).
        if (!immediate) await running.Ended.WaitAsync(command.CancellationToken).ConfigureAwait(false);
        // The operation reports its failure itself, by log and by sense; nobody awaits this task.
        else _ = running.Ended.ContinueWith(static t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        return CommandResult.Good;
    }

    private static long Step(BlockUnit unit) => unit.EraseBytesPerSecond == 0
        ? MaxStepBytes
        : Math.Clamp(unit.EraseBytesPerSecond / 4 / MinStepBytes * MinStepBytes, MinStepBytes, MaxStepBytes);

    private static Task PaceAsync(BlockUnit unit, long step, CancellationToken stop) => unit.EraseBytesPerSecond == 0
        ? Task.CompletedTask
        : Task.Delay(TimeSpan.FromSeconds((double)step / unit.EraseBytesPerSecond), unit.Runtime.Time, stop);

    /// <summary>Bytes to erase, asked before each step: the blocks that a unit gains meanwhile are erased too.</summary>
    private static long Length(BlockUnit unit) => unit.BlockCount * unit.BlockSize;

    private static async Task DiscardAllAsync(BlockUnit unit, IProgress<double> progress, CancellationToken stop)
    {
        unit.Tokens.Revoke(0, unit.BlockCount);
        long step = Step(unit);
        for (long done = 0; Length(unit) is var length && done < length;)
        {
            stop.ThrowIfCancellationRequested();
            long now = Math.Min(step, length - done);
            await unit.Store.DiscardAsync(done, now, stop).ConfigureAwait(false);
            done += now;
            await PaceAsync(unit, step, stop).ConfigureAwait(false);
            progress.Report((double)done / length);
        }
    }

    private static async Task OverwriteAsync(BlockUnit unit, byte[] pattern, int passes, bool invert, IProgress<double> progress, CancellationToken stop)
    {
        var block = new byte[unit.BlockSize];
        long step = Step(unit);
        unit.Tokens.Revoke(0, unit.BlockCount);
        for (int pass = 0; pass < passes; pass++)
        {
            // With INVERT every pass is the complement of the one before; the last one is the pattern when their number is odd.
            byte mask = invert && pass % 2 == 1 ? (byte)0xFF : (byte)0;
            for (int i = 0; i < block.Length; i++) block[i] = (byte)(pattern[i % pattern.Length] ^ mask);
            for (long done = 0; Length(unit) is var length && done < length;)
            {
                long now = Math.Min(step, length - done);
                await unit.Store.WriteSameAsync(done, now, new DataBuffer(block), WriteOptions.None, stop).ConfigureAwait(false);
                done += now;
                await PaceAsync(unit, step, stop).ConfigureAwait(false);
                progress.Report((pass + (double)done / length) / passes);
            }
        }
    }
}
