using System.CommandLine;
using LunKit.App.Attach;
using LunKit.App.Backstores;
using LunKit.App.Doctor;
using LunKit.App.Handle;
using LunKit.App.Serve;

var root = new RootCommand("LunKit: SCSI targets in user space")
{
    ServeCommand.Create(), HandleCommand.Create(), AttachCommand.Create(), DetachCommand.Create(), BackstoresCommand.Create(), CheckCommand.Create(),
    DoctorCommand.Create(),
};
try
{
    // '@' begins an abstract socket's name here, not a file of arguments.
    return await root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null }).InvokeAsync(new InvocationConfiguration
    {
        EnableDefaultExceptionHandler = false,
        // The commands stop by themselves when they are told to, and take the time that it takes: a flush cut short loses data.
        ProcessTerminationTimeout = null,
    });
}
catch (UserException e)
{
    Console.Error.WriteLine($"lunkit: {e.Message}");
    return e.ExitCode;
}
