using System.CommandLine;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Attach;

/// <summary><c>lunkit attach</c>: a local SCSI disk, or a kernel iSCSI target, in one command.</summary>
internal static class AttachCommand
{
    private const string Details = """
        Make a local SCSI disk (/dev/sdX) of a backstore, through the kernel's target (TCMU and its loopback fabric). Needs root.

        The command prints the disk and serves it until Ctrl-C, SIGTERM or `lunkit detach`; then all of it is removed in order. A disk that is
        mounted or otherwise in use is not removed: unmount it first, or stop twice.
        With --iscsi the kernel's own iSCSI target exports the backstore instead.

        Examples:
          lunkit attach disk.img,size=10G
          lunkit attach memory:1G --name scratch
          lunkit attach disk.img --iscsi iqn.2026-11.local.lunkit:disk --portal 0.0.0.0:3260 --allow iqn.1993-08.org.debian:01:abc
        """;

    public static Command Create()
    {
        var backstore = new Argument<string>("BACKSTORE") { Description = "memory:SIZE, file:PATH[,size=SIZE], null:SIZE, or a path; options as for lunkit serve" };
        var name = new Option<string?>("--name") { Description = "Name of the backstore in configfs (default: made from BACKSTORE)", HelpName = "NAME" };
        var iscsi = new Option<string?>("--iscsi") { Description = "Export by the kernel's iSCSI target under this name", HelpName = "IQN" };
        var portal = new Option<string>("--portal") { Description = "Where the iSCSI target listens", HelpName = "HOST:PORT", DefaultValueFactory = _ => "127.0.0.1:3260" };
        var allow = new Option<string[]>("--allow") { Description = "Let only this iSCSI initiator in; may be repeated", HelpName = "IQN" };
        var anyone = new Option<bool>("--allow-anyone") { Description = "Let every initiator that reaches the portal in, also from other machines" };
        var readOnly = new Option<bool>("--read-only") { Description = "Refuse writes" };
        var dataArea = new Option<int>("--data-area") { Description = "Memory for the data of commands, in MiB", HelpName = "MIB", DefaultValueFactory = _ => 64 };
        var level = new Option<LogLevel>("--log-level") { Description = "Trace, Debug, Information, Warning, Error or None", HelpName = "LEVEL", DefaultValueFactory = _ => LogLevel.Warning };
        var command = new Command("attach", Details) { backstore, name, iscsi, portal, allow, anyone, readOnly, dataArea, level };
        command.SetAction((result, _) => AttachedDisk.RunAsync(new AttachOptions
        {
            Backstore = result.GetValue(backstore)!, Name = result.GetValue(name), Iqn = result.GetValue(iscsi), Portal = result.GetValue(portal)!,
            Allow = result.GetValue(allow) ?? [], AllowAnyone = result.GetValue(anyone), ReadOnly = result.GetValue(readOnly), DataAreaMegabytes = result.GetValue(dataArea),
        }, new Serve.ConsoleLogger(result.GetValue(level))));
        return command;
    }
}
