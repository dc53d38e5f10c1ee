using System.CommandLine;
using LunKit.App.CommandLine;
using LunKit.App.Serve;
using LunKit.Linux;
using LunKit.Tcmu.ConfigFs;

namespace LunKit.App.Attach;

/// <summary><c>lunkit detach</c>: removes what <c>lunkit attach</c> made, also after its process is gone.</summary>
internal static class DetachCommand
{
    private const string Details = """
        Without a NAME it lists them. A process that still serves the disk is asked to end, and removes all in order. When it is gone (killed,
        crashed), what it left in configfs is removed; commands that still wait for it fail. Needs root.
        """;


    public static Command Create()
    {
        var names = new Argument<string[]>("NAME") { Arity = ArgumentArity.ZeroOrMore, Description = "Names, or disks" };
        var all = new Option<bool>("--all") { Description = "Everything that is attached" };
        var force = new Option<bool>("--force") { Description = "Also a disk that is mounted or otherwise in use" };
        var command = new AppCommand("detach", "Remove disks that `lunkit attach` made, or list them.", names, all, force)
        {
            Details = Details,
            Examples = [("lunkit detach", "list what is attached"), ("lunkit detach disk", "by name"), ("lunkit detach /dev/sdb", "by disk"), ("lunkit detach --all", "everything")],
        };
        command.SetAction((result, _) => RunAsync(result.GetValue(names) ?? [], result.GetValue(all), result.GetValue(force)));
        return command;
    }

    private const int AskMilliseconds = 20_000, FailMilliseconds = 200;

    private static async Task<int> RunAsync(string[] names, bool all, bool force)
    {
        var target = new KernelTarget();
        var attached = Attachment.All(target);
        if (names.Length == 0 && !all)
        {
            if (attached.Count == 0) Console.WriteLine("nothing is attached");
            foreach (var a in attached) Console.WriteLine($"{a.Name}\t{a.Disk(target) ?? "-"}\tprocess {a.ProcessId}{(a.IsAlive ? "" : ", which is gone")}");
            return 0;
        }
        if (!Environment.IsPrivilegedProcess) throw new UserException("detaching a disk needs root: it talks to the kernel's target");
        var chosen = all ? attached : [.. names.Select(n => attached.FirstOrDefault(a => a.Name == n || a.Disk(target) == n)
            ?? throw new UserException($"'{n}' is not attached by LunKit; `lunkit detach` lists what is"))];
        foreach (var attachment in chosen)
        {
            if (!force && attachment.Disk(target) is { } disk && IsInUse(attachment, disk))
                throw new UserException($"{attachment.Name}: {disk} is in use; unmount it first (or --force)");
            if (attachment.IsAlive) await attachment.StopAsync(TimeSpan.FromSeconds(60), again: force);
            else Remove(attachment, target);
            Console.WriteLine($"{attachment.Name} is detached");
        }
        return 0;
    }

    /// <summary>
    /// Whether somebody has the disk mounted, or the like. While the kernel looks for partitions on it that question waits, and where the process is
    /// gone nobody answers what the kernel reads: it fails then.
    /// </summary>
    private static bool IsInUse(Attachment attachment, string disk)
    {
        if (attachment.IsAlive) return DeviceNode.IsClaimed(disk);
        bool isClaimed = false;
        var asking = new Thread(() => isClaimed = DeviceNode.IsClaimed(disk)) { IsBackground = true, Name = "lunkit-claim" };
        asking.Start();
        for (long end = Environment.TickCount64 + AskMilliseconds; !asking.Join(FailMilliseconds);)
        {
            if (Environment.TickCount64 > end) throw new UserException($"{attachment.Name}: the kernel does not say whether {disk} is in use; --force detaches it all the same");
            attachment.FailCommands();
        }
        return isClaimed;
    }

    private static void Remove(Attachment attachment, KernelTarget target)
    {
        try
        {
            attachment.Remove(target, hasHandler: false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException(e.Message);
        }
    }
}
