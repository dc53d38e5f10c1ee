namespace LunKit.App.Doctor;

/// <summary>Processes that sleep in the kernel's target and cannot be killed: somebody owes the kernel an answer.</summary>
internal static class WaitChecks
{
    public static IEnumerable<Finding> Run(Machine machine, IReadOnlyList<RunningProcess> processes)
    {
        var waiting = All(processes);
        if (waiting.Count == 0) return [];
        // Whoever is only at work is out of it at the second look.
        using var never = new ManualResetEventSlim();
        never.Wait(machine.Patience);
        return [.. waiting.Intersect(All(processes)).Select(w => Word(w.Process, w.Function, processes))];
    }

    private static List<(RunningProcess Process, string Function)> All(IReadOnlyList<RunningProcess> processes) => [.. processes.SelectMany(p => p.SleepsIn().Select(f => (p, f)))];

    private static Finding Word(RunningProcess process, string function, IReadOnlyList<RunningProcess> all)
    {
        bool isNetlink = function.Contains("genl", StringComparison.Ordinal) || function.Contains("netlink", StringComparison.Ordinal);
        string text = $"process {process.Id} ({process.Command}) waits in the kernel ({function}) for {(isNetlink ? "a handler's reply by netlink" : "a command's answer")}";
        var handlers = all.Where(p => p.IsHandler).ToList();
        if (handlers.FirstOrDefault(h => h.IsStopped) is { } stopped) return new(Verdict.Bad, text, $"{stopped} is stopped and owes it: kill -CONT {stopped.Id}");
        if (!isNetlink) return new(Verdict.Bad, text, "a command is out that no handler answers: start its handler, or wait for cmd_time_out");
        return new(Verdict.Bad, text, handlers.Count == 0
            ? "no handler runs that would reply: start `lunkit handle`, which ends the waits that nobody ends"
            : $"the log of {handlers[0]} says what it is at; when it is ended and started again, the wait ends");
    }
}
