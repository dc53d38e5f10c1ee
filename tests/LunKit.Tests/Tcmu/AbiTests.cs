using System.Diagnostics;
using System.Runtime.InteropServices;
using LunKit.Tcmu.Ring;

namespace LunKit.Tests.Tcmu;

/// <summary>The structs of the ring against the C header: by a table, and by the compiler where there is one.</summary>
public class AbiTests
{
    private static int Offset<T>(string field) => (int)Marshal.OffsetOf<T>(field);

    /// <summary>C expression, what it is on 64-bit Linux, what it is here.</summary>
    public static TheoryData<string, int, int> Layout => new()
    {
        { "sizeof(struct tcmu_mailbox)", 128, Marshal.SizeOf<MailboxAbi>() },
        { "offsetof(struct tcmu_mailbox, version)", 0, Offset<MailboxAbi>(nameof(MailboxAbi.Version)) },
        { "offsetof(struct tcmu_mailbox, flags)", 2, Offset<MailboxAbi>(nameof(MailboxAbi.Flags)) },
        { "offsetof(struct tcmu_mailbox, cmdr_off)", 4, Offset<MailboxAbi>(nameof(MailboxAbi.RingOffset)) },
        { "offsetof(struct tcmu_mailbox, cmdr_size)", 8, Offset<MailboxAbi>(nameof(MailboxAbi.RingSize)) },
        { "offsetof(struct tcmu_mailbox, cmd_head)", 12, Offset<MailboxAbi>(nameof(MailboxAbi.Head)) },
        { "offsetof(struct tcmu_mailbox, cmd_tail)", 64, Offset<MailboxAbi>(nameof(MailboxAbi.Tail)) },
        { "sizeof(struct tcmu_cmd_entry_hdr)", 8, Marshal.SizeOf<EntryHeaderAbi>() },
        { "offsetof(struct tcmu_cmd_entry_hdr, len_op)", 0, Offset<EntryHeaderAbi>(nameof(EntryHeaderAbi.LengthAndOpcode)) },
        { "offsetof(struct tcmu_cmd_entry_hdr, cmd_id)", 4, Offset<EntryHeaderAbi>(nameof(EntryHeaderAbi.CommandId)) },
        { "offsetof(struct tcmu_cmd_entry_hdr, kflags)", 6, Offset<EntryHeaderAbi>(nameof(EntryHeaderAbi.KernelFlags)) },
        { "offsetof(struct tcmu_cmd_entry_hdr, uflags)", 7, Offset<EntryHeaderAbi>(nameof(EntryHeaderAbi.UserFlags)) },
        { "sizeof(struct tcmu_cmd_entry)", 112, Marshal.SizeOf<CommandResponseAbi>() },
        { "offsetof(struct tcmu_cmd_entry, req.iov_cnt)", 8, Offset<CommandRequestAbi>(nameof(CommandRequestAbi.IovecCount)) },
        { "offsetof(struct tcmu_cmd_entry, req.iov_bidi_cnt)", 12, Offset<CommandRequestAbi>(nameof(CommandRequestAbi.BidirectionalIovecCount)) },
        { "offsetof(struct tcmu_cmd_entry, req.iov_dif_cnt)", 16, Offset<CommandRequestAbi>(nameof(CommandRequestAbi.ProtectionIovecCount)) },
        { "offsetof(struct tcmu_cmd_entry, req.cdb_off)", 24, Offset<CommandRequestAbi>(nameof(CommandRequestAbi.CdbOffset)) },
        { "offsetof(struct tcmu_cmd_entry, req.iov)", 48, Marshal.SizeOf<CommandRequestAbi>() },
        { "offsetof(struct tcmu_cmd_entry, rsp.scsi_status)", 8, Offset<CommandResponseAbi>(nameof(CommandResponseAbi.Status)) },
        { "offsetof(struct tcmu_cmd_entry, rsp.read_len)", 12, Offset<CommandResponseAbi>(nameof(CommandResponseAbi.ReadLength)) },
        { "offsetof(struct tcmu_cmd_entry, rsp.sense_buffer)", 16, CommandResponseAbi.SenseOffset },
        { "TCMU_SENSE_BUFFERSIZE", 96, CommandResponseAbi.SenseLength },
        { "sizeof(struct iovec)", 16, Marshal.SizeOf<IovecAbi>() },
        { "offsetof(struct iovec, iov_base)", 0, Offset<IovecAbi>(nameof(IovecAbi.Base)) },
        { "offsetof(struct iovec, iov_len)", 8, Offset<IovecAbi>(nameof(IovecAbi.Length)) },
        { "sizeof(struct tcmu_tmr_entry)", 32, Marshal.SizeOf<TaskManagementAbi>() },
        { "offsetof(struct tcmu_tmr_entry, tmr_type)", 8, Offset<TaskManagementAbi>(nameof(TaskManagementAbi.Type)) },
        { "offsetof(struct tcmu_tmr_entry, cmd_cnt)", 12, Offset<TaskManagementAbi>(nameof(TaskManagementAbi.CommandCount)) },
        { "offsetof(struct tcmu_tmr_entry, cmd_ids)", 32, Marshal.SizeOf<TaskManagementAbi>() },
        { "TCMU_MAILBOX_VERSION", 2, RingConsumer.SupportedVersion },
        { "TCMU_MAILBOX_FLAG_CAP_OOOC", 1, (int)MailboxFlags.OutOfOrderCompletion },
        { "TCMU_MAILBOX_FLAG_CAP_READ_LEN", 2, (int)MailboxFlags.ReadLength },
        { "TCMU_MAILBOX_FLAG_CAP_TMR", 4, (int)MailboxFlags.TaskManagement },
        { "TCMU_MAILBOX_FLAG_CAP_KEEP_BUF", 8, (int)MailboxFlags.KeepBuffers },
        { "TCMU_UFLAG_UNKNOWN_OP", 1, (int)CompletionFlags.UnknownOpcode },
        { "TCMU_UFLAG_READ_LEN", 2, (int)CompletionFlags.ReadLength },
        { "TCMU_UFLAG_KEEP_BUF", 4, (int)CompletionFlags.KeepBuffers },
        { "TCMU_OP_PAD", 0, (int)RingOpcode.Pad },
        { "TCMU_OP_CMD", 1, (int)RingOpcode.Command },
        { "TCMU_OP_TMR", 2, (int)RingOpcode.TaskManagement },
        { "TCMU_OP_MASK", 7, (int)EntryHeaderAbi.OpcodeMask },
        { "TCMU_OP_ALIGN_SIZE", 8, EntryHeaderAbi.Alignment },
    };

    [Theory, MemberData(nameof(Layout))]
    public void StructsLieAsTheHeaderSays(string expression, int expected, int actual) => Assert.True(expected == actual, $"{expression} is {expected}, here {actual}");

    [Fact]
    public async Task TableIsWhatTheCompilerSays()
    {
        Assert.SkipUnless(File.Exists("/usr/include/linux/target_core_user.h") && File.Exists("/usr/bin/cc"), "needs cc and linux/target_core_user.h (linux-libc-dev)");
        string folder = Directory.CreateTempSubdirectory("lunkit-abi-").FullName;
        try
        {
            var rows = Layout.Select(r => (Expression: r.Data.Item1, Expected: r.Data.Item2)).ToList();
            string checks = string.Concat(rows.Select(r => $"_Static_assert(({r.Expression}) == {r.Expected}, \"{r.Expression}\");\n"));
            string source = Path.Combine(folder, "abi.c");
            await File.WriteAllTextAsync(source, "#include <stddef.h>\n#include <linux/target_core_user.h>\n" + checks);
            using var cc = Process.Start(new ProcessStartInfo("cc", ["-c", "-o", Path.Combine(folder, "abi.o"), source]) { RedirectStandardError = true })!;
            string errors = await cc.StandardError.ReadToEndAsync();
            await cc.WaitForExitAsync();
            Assert.True(cc.ExitCode == 0, errors);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
