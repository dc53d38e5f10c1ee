using System.CommandLine;
using LunKit.App.CommandLine;

namespace LunKit.App.Doctor;

/// <summary><c>lunkit doctor</c>: what the machine has for the kernel's side of LunKit, what it lacks, and what to do.</summary>
internal static class DoctorCommand
{
    private const string Details = """
        Kernel modules, configfs, rights; which process handles which device; what is stuck; and what to do about it. It changes nothing.
        `lunkit serve` needs none of it. The status is 0 when nothing is wrong, 1 otherwise.
        """;


    private static readonly bool s_hasColours = !Console.IsOutputRedirected && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

    public static Command Create()
    {
        var command = new AppCommand("doctor", "Say what this machine has and lacks for `lunkit handle` and `lunkit attach`, and what to do.")
        {
            Details = Details,
            Examples = [("sudo lunkit doctor", "all of it can be seen by root only")],
        };
        command.SetAction(_ => Run());
        return command;
    }

    private static int Run()
    {
        var machine = new Machine();
        bool healthy = Print("Machine", MachineChecks.Run(machine)) & Print("Devices", DeviceChecks.Run(machine));
        Console.WriteLine(healthy ? "Nothing is wrong." : "Something is wrong; see above.");
        return healthy ? 0 : 1;
    }

    private static bool Print(string title, IEnumerable<Finding> findings)
    {
        Console.WriteLine(title);
        bool healthy = true;
        foreach (var finding in findings)
        {
            var (colour, mark) = finding.Verdict switch { Verdict.Good => (32, "ok  "), Verdict.Note => (33, "note"), _ => (31, "BAD ") };
            // Colour only: the terminal breaks lines, not we.
            Console.WriteLine($"  {(s_hasColours ? $"\e[{colour}m{mark}\e[0m" : mark)} {finding.Text}");
            if (finding.Advice is { } advice && finding.Verdict != Verdict.Good) Console.WriteLine($"         {advice}");
            healthy &= finding.Verdict != Verdict.Bad;
        }
        Console.WriteLine();
        return healthy;
    }
}
