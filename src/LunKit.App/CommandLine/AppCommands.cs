using System.CommandLine;
using System.CommandLine.Help;
using LunKit.App.Attach;
using LunKit.App.Backstores;
using LunKit.App.Config;
using LunKit.App.Doctor;
using LunKit.App.Handle;
using LunKit.App.Replay;
using LunKit.App.Serve;

namespace LunKit.App.CommandLine;

/// <summary>All commands of <c>lunkit</c>.</summary>
internal static class AppCommands
{
    public static RootCommand Create()
    {
        var root = new RootCommand("LunKit: SCSI targets in user space.")
        {
            ServeCommand.Create(), HandleCommand.Create(), AttachCommand.Create(), DetachCommand.Create(), BackstoresCommand.Create(), CheckCommand.Create(),
            ReplayCommand.Create(), ConfigCommand.Create(), DoctorCommand.Create(),
        };
        root.Subcommands.Add(HelpCommand.Create(root));
        var help = new Help();
        foreach (var option in root.Options.OfType<HelpOption>()) option.Action = help;
        // Without a command.
        root.SetAction(help.Invoke);
        foreach (var group in root.Subcommands.Where(c => c.Subcommands.Count > 0)) group.SetAction(help.Invoke);
        return root;
    }
}
