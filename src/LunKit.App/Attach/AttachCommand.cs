using System.CommandLine;
using LunKit.App.Backstores;
using LunKit.App.CommandLine;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Attach;

/// <summary><c>lunkit attach</c>: a local SCSI disk, or a kernel iSCSI target, in one command.</summary>
internal static class AttachCommand
{
    private static readonly string s_details = $"""
        It goes through the kernel's target (TCMU and its loopback fabric), and needs root. The command prints the disk and serves it until Ctrl-C,
        SIGTERM or `lunkit detach`; then it removes all of it in order. A disk that is mounted or otherwise in use is not removed: unmount it first,
        or stop twice. With --iscsi the kernel's own iSCSI target exports the backstore instead.

        {BackstoresCommand.Overview(withUnits: false)}
        """;


    public static Command Create()
    {
        var backstore = new Argument<string>("BACKSTORE") { Description = "What the disk is made of; options as for lunkit serve" };
        var name = new Option<string?>("--name") { Description = "Name of the backstore in configfs (default: made from BACKSTORE)", HelpName = "NAME" };
        var iscsi = new Option<string?>("--iscsi") { Description = "Export by the kernel's iSCSI target under this name", HelpName = "IQN" };
        var portal = new Option<string>("--portal") { Description = "Where the iSCSI target listens", HelpName = "HOST:PORT", DefaultValueFactory = _ => "127.0.0.1:3260" };
        var allow = new Option<string[]>("--allow") { Description = "Let only this iSCSI initiator in; may be repeated", HelpName = "IQN" };
        var anyone = new Option<bool>("--allow-anyone") { Description = "Let every initiator that reaches the portal in, also from other machines" };
        var readOnly = new Option<bool>("--read-only") { Description = "Refuse writes" };
        var dataArea = Words.Number("--data-area", "Memory for the data of commands, in MiB", "MIB", 64, 1, 2048);
        var level = Words.Level(LogLevel.Warning);
        var command = new AppCommand("attach", "Make a local SCSI disk (/dev/sdX) of a backstore.", backstore, name, iscsi, portal, allow, anyone, readOnly, dataArea, level)
        {
            Details = s_details,
            Examples =
            [
                ("lunkit attach disk.img,size=10G", "an image as a local disk"),
                ("lunkit attach memory:1G --name scratch", "a RAM disk with a name for lunkit detach"),
                ("lunkit attach disk.img --iscsi iqn.2026-11.local.lunkit:disk --portal 0.0.0.0:3260 --allow iqn.1993-08.org.debian:01:abc", "the kernel's iSCSI target"),
            ],
        };
        command.SetAction((result, _) => AttachedDisk.RunAsync(new AttachOptions
        {
            Backstore = result.GetValue(backstore)!, Name = result.GetValue(name), Iqn = result.GetValue(iscsi), Portal = result.GetValue(portal)!,
            Allow = result.GetValue(allow) ?? [], AllowAnyone = result.GetValue(anyone), ReadOnly = result.GetValue(readOnly), DataAreaMegabytes = result.GetValue(dataArea),
        }, new Serve.ConsoleLogger(result.GetValue(level))));
        return command;
    }
}
