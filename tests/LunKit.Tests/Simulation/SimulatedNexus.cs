using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.Simulation;

/// <summary>An initiator with its session: a fabric in small, whose every step is an event of the world.</summary>
internal sealed class SimulatedNexus(SimulatedWorld world, LogicalUnit unit, int number)
{
    private readonly List<SimulatedCommand> _outstanding = [];
    private Nexus? _nexus;

    public SimulatedWorld World => world;
    public ulong Key => 0xA0 + (ulong)number;
    public bool IsOpen => _nexus is not null;
    public UnitNexus UnitNexus => _nexus!.Luns.Find(0)!;
    public string PortName => $"iqn.test:n{number},i,0x{number:x12}";
    public IReadOnlyList<SimulatedCommand> Outstanding => _outstanding;

    /// <summary>A new session. Nothing of an old one can take effect on what is written from here on.</summary>
    public void Open()
    {
        var id = new byte[4 + (PortName.Length + 4) / 4 * 4];
        (id[0], id[3]) = (0x45, (byte)(id.Length - 4));
        System.Text.Encoding.ASCII.GetBytes(PortName, id.AsSpan(4));
        _nexus = new Nexus($"iqn.test:n{number}", PortName, id, new TargetPort("iqn.test:target,t,0x0001", 1, 0, "iqn.test:target"));
        _nexus.Open([KeyValuePair.Create(0, unit)]);
        world.Note($"{this} logs in");
        Cover("the new session", c => c.Nexus != _nexus);
    }

    public void Lose()
    {
        world.Note($"{this} is lost");
        var nexus = _nexus!;
        _nexus = null;
        foreach (var command in _outstanding.Where(c => c.IsCollecting).ToList()) Finish(command);
        nexus.Close();
    }

    public void Send(SimulatedCommand command, byte[] cdb, byte[] dataOut, TaskAttribute attribute)
    {
        command.Prepare(UnitNexus, cdb, dataOut, attribute, world.Step);
        _outstanding.Add(command);
        world.Note($"{command}{(attribute == TaskAttribute.Simple ? "" : $" {attribute}")} is sent");
        if (!world.Chance(0.5) && dataOut.Length == 0)
        {
            Execute(command);
            return;
        }
        command.IsCollecting = true;
        unit.Arrive(command);
        // Its data may never come.
        if (!world.Chance(0.03)) world.After(TimeSpan.FromMilliseconds(world.Between(0, 300)), () => Execute(command));
    }

    private void Execute(SimulatedCommand command)
    {
        if (command.IsOver || command.IsAborted && command.IsCollecting)
        {
            Sweep(command);
            return;
        }
        command.IsCollecting = false;
        var running = unit.ExecuteAsync(command);
        if (running.IsCompleted)
        {
            Respond(command, running.Result);
            return;
        }
        var awaiter = running.GetAwaiter();
        // The fabric hears of it, and answers when it gets to it.
        awaiter.UnsafeOnCompleted(() =>
        {
            var result = awaiter.GetResult();
            world.After(TimeSpan.FromMilliseconds(world.Between(0, 30)), () => Respond(command, result));
        });
    }

    private void Respond(SimulatedCommand command, CommandResult result)
    {
        if (command.IsAborted) result = CommandResult.TaskAborted;
        bool silent = command.Nexus != _nexus || command.IsAborted && !command.ReportAborted;
        world.Note($"{command}: {(silent ? "nobody is told" : result)}");
        if (!silent)
        {
            command.Answer(result);
            if (result.Status == ScsiStatus.Good) command.WhenGood?.Invoke();
        }
        Finish(command);
    }

    private void Finish(SimulatedCommand command)
    {
        command.End();
        unit.Complete(command);
        _outstanding.Remove(command);
        if (command is { IsAnswered: false, CoveredBy: null }) _silent.Add(command);
    }

    // Ended without an answer; what ends them has not been answered yet.
    private readonly List<SimulatedCommand> _silent = [];

    /// <summary>Commands that ended without an answer, and whose end nothing has told.</summary>
    public IReadOnlyList<SimulatedCommand> Untold => _silent;

    /// <summary>It was aborted while its data was still to come.</summary>
    public void Sweep(SimulatedCommand command)
    {
        if (command.IsOver || !command.IsCollecting || !command.IsAborted) return;
        command.IsCollecting = false;
        Respond(command, CommandResult.TaskAborted);
    }

    /// <summary>Something was answered that says of commands that they are over.</summary>
    public void Cover(string what, Func<SimulatedCommand, bool> covers)
    {
        foreach (var command in _outstanding.Concat(_silent).Where(c => !c.IsAnswered && covers(c)).ToList())
        {
            command.CoveredBy ??= what;
            if (command.Write is { } write) write.End = Math.Min(write.End, world.Step);
            _silent.Remove(command);
        }
    }

    public override string ToString() => $"n{number}";
}
