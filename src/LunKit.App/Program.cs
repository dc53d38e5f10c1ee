using System.CommandLine;
using LunKit.App.CommandLine;
using LunKit.App.Serve;

try
{
    return await AppParser.Parse(AppCommands.Create(), args).InvokeAsync(new InvocationConfiguration
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
