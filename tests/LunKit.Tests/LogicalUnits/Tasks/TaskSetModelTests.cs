using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>The task set against a model that is too slow and too simple to be wrong: random steps, everything checked after each.</summary>
public class TaskSetModelTests
{
    private sealed class ModelCommand : ScsiCommand
    {
        public required int Number { get; init; }
        public int AskedVersion { get; set; }
        public BlockLease WantedLease { get; set; }
        public bool IsBegun { get; set; }
        public bool IsAbandoned { get; set; }
        public int Grants { get; set; }
        public int Refusals { get; set; }
        public bool WasBlocked { get; set; }
        public override DataBuffer RentDataIn(int length) => throw new NotSupportedException();

        public async Task CountGrant()
        {
            WasBlocked = true;
            if (await WaitGrantAsync().ConfigureAwait(false)) Grants++;
            else Refusals++;
        }

        public override string ToString() => $"#{Number} {Attribute} {WantedLease.Range.Start}-{WantedLease.Range.End}{(Place.IsExclusive ? "!" : "")} {Place.State}";
    }

    private sealed class World
    {
        private readonly ManualQueue _queue = new();
        private readonly Random _random;
        private readonly List<ModelCommand> _live = [];
        private readonly List<ModelCommand> _done = [];
        private readonly List<(Drain Drain, List<ModelCommand> Of)> _drains = [];
        // Pairs that ran together already when the nexus of one died: the death does not stop the other.
        private readonly HashSet<(int, int)> _together = [];
        private readonly UnitNexus[] _nexuses;
        private readonly TaskSet _set;
        private int _count;

        public World(int seed)
        {
            SynchronizationContext.SetSynchronizationContext(null);
            _random = new Random(seed);
            _set = new TaskSet(_queue, e => Assert.Fail(e.ToString()));
            var port = new TargetPort("t,t,0x0001", 1, 0, "t");
            _nexuses = [.. Enumerable.Range(0, 3).Select(i => new UnitNexus(new Nexus($"i{i}", $"i{i},i,0x0", [], port), null!, 0))];
        }

        public string State => string.Join("; ", _live);

        public void Step()
        {
            var before = Running();
            switch (_random.Next(20))
            {
                case < 6: Enter(); break;
                case < 12: Begin(); break;
                case < 15: End(); break;
                case < 17: Leave(); break;
                case 17: Abort(); break;
                case 18: EndExclusive(); break;
                default: WhenLeft(); break;
            }
            if (_random.Next(3) == 0) _queue.RunAll();
            Check(before);
        }

        private HashSet<int> Running() => [.. _live.Where(c => c.Place.State == TaskState.Running).Select(c => c.Number)];

        private void Enter()
        {
            if (_live.Count >= 24) return;
            var command = new ModelCommand
            {
                Number = _count++, UnitNexus = _nexuses[_random.Next(3)],
                Attribute = _random.Next(6) switch { 0 => TaskAttribute.Ordered, 1 => TaskAttribute.HeadOfQueue, _ => TaskAttribute.Simple },
            };
            command.Nexus = command.UnitNexus.Nexus;
            int start = _random.Next(8);
            command.WantedLease = new(new(start, start + _random.Next(4)), Exclusive: _random.Next(3) == 0, ChangesMedium: _random.Next(2) == 0);
            if (_random.Next(6) == 0) command.WantedLease = command.WantedLease with { Parts = [new(start, start + 1), new(start + 2, start + 3)], Range = new(start, start + 3) };
            _set.Enter(command);
            command.AskedVersion = _set.Version;
            _live.Add(command);
        }

        private ModelCommand? Any(Func<ModelCommand, bool> which)
        {
            var some = _live.Where(which).ToList();
            return some.Count == 0 ? null : some[_random.Next(some.Count)];
        }

        private void Begin()
        {
            if (Any(c => c.Place.State == TaskState.Collecting && !c.IsBegun) is not { } command) return;
            bool aborted = command.IsAborted, stale = command.AskedVersion != _set.Version, mayRun = MayRun(command, command.WantedLease);
            var grant = _set.Begin(command, command.WantedLease, command.AskedVersion);
            Assert.Equal(aborted ? TaskGrant.Aborted : stale ? TaskGrant.Stale : mayRun ? TaskGrant.Running : TaskGrant.Blocked, grant);
            // Checked again, and asks anew.
            command.AskedVersion = _set.Version;
            if (grant is TaskGrant.Running or TaskGrant.Blocked) command.IsBegun = true;
            if (grant == TaskGrant.Blocked) _ = command.CountGrant();
        }

        private void End()
        {
            if (Any(c => c.Place.State is TaskState.Running or TaskState.Ended) is not { } command) return;
            _set.End(command);
            Assert.Equal(TaskState.Ended, command.Place.State);
        }

        private void Leave()
        {
            if (Any(c => c.Place.State != TaskState.Blocked) is not { } command) return;
            _set.Leave(command);
            _set.Leave(command);
            _live.Remove(command);
            _done.Add(command);
        }

        private void Abort()
        {
            var nexus = _nexuses[_random.Next(3)];
            bool abandons = _random.Next(2) == 0, reports = _random.Next(2) == 0;
            var selected = _live.Where(c => c.UnitNexus == nexus).ToList();
            if (abandons)
            {
                foreach (var dead in selected.Where(c => c.Place.State == TaskState.Running))
                    foreach (var other in _live.Where(c => c.Place.State == TaskState.Running))
                        _together.Add((Math.Min(dead.Number, other.Number), Math.Max(dead.Number, other.Number)));
            }
            var ghosts = selected.Where(c => abandons && c.Place.State == TaskState.Running && c.Place.Lease is { ChangesMedium: true, Range.IsEmpty: false }).ToList();
            var blocked = selected.Where(c => c.Place.State == TaskState.Blocked).ToList();
            var drain = _set.Abort(c => c.UnitNexus == nexus, _ => reports, abandons);
            _drains.Add((drain, selected));
            Assert.All(selected, c => Assert.True(c.IsAborted && c.CancellationToken.IsCancellationRequested && (!reports || c.ReportAborted)));
            Assert.All(blocked, c => Assert.Equal(TaskState.Ended, c.Place.State));
            Assert.All(ghosts, c => Assert.True(c.Place is { IsGhost: true, IsExclusive: true }));
        }

        private void EndExclusive()
        {
            if (Any(c => c.Place.State == TaskState.Running) is not { } command) return;
            int version = _set.Version;
            _set.EndExclusive(command);
            Assert.NotEqual(version, _set.Version);
            Assert.False(command.Place.IsExclusive);
        }

        private void WhenLeft()
        {
            int number = _random.Next(_count + 1), version = _set.Version;
            var selected = _live.Where(c => c.Number < number).ToList();
            _drains.Add((_set.WhenLeft(e => ((ModelCommand)e.Command).Number < number), selected));
            Assert.NotEqual(version, _set.Version);
        }

        /// <summary>SAM-6 8.9 and the ranges, said once more, over all that is alive.</summary>
        private bool MayRun(ModelCommand command, BlockLease lease)
        {
            bool exclusive = command.Place.IsExclusive || lease.Exclusive;
            bool head = command.Attribute == TaskAttribute.HeadOfQueue;
            foreach (var other in _live)
            {
                if (other == command || other.Place.State == TaskState.Ended) continue;
                bool older = other.Number < command.Number;
                bool collecting = other.Place.State == TaskState.Collecting, running = other.Place.State == TaskState.Running;
                bool ordered = command.Attribute == TaskAttribute.Ordered || other.Attribute == TaskAttribute.Ordered;
                if (older && !head && ordered && (!collecting || other.UnitNexus == command.UnitNexus)) return false;
                bool excludes = !collecting && (exclusive || other.Place.IsExclusive) && Shares(lease, other.Place.Lease);
                if (excludes && (older ? !head || running : running)) return false;
            }
            return true;
        }

        private static bool Shares(BlockLease one, BlockLease other) => Blocks(one).Intersect(Blocks(other)).Any();

        private static IEnumerable<long> Blocks(BlockLease lease)
        {
            foreach (var part in lease.Parts ?? [lease.Range])
                for (long i = part.Start; i < part.End; i++) yield return i;
        }

        private void Check(HashSet<int> before)
        {
            Assert.Equal(_live.Count, _set.Count);
            foreach (var command in _live)
            {
                bool mayRun = MayRun(command, command.Place.Lease);
                if (command.Place.State == TaskState.Blocked) Assert.False(mayRun, $"{command} waits for nothing");
                if (command.Place.State == TaskState.Running && !before.Contains(command.Number)) Assert.True(mayRun, $"{command} runs too early");
            }
            var running = _live.Where(c => c.Place.State == TaskState.Running).ToList();
            foreach (var one in running)
            {
                foreach (var other in running.Where(r => r.Number > one.Number && !_together.Contains((one.Number, r.Number))))
                    Assert.False((one.Place.IsExclusive || other.Place.IsExclusive) && Shares(one.Place.Lease, other.Place.Lease), $"{one} beside {other}");
            }
            if (_queue.Count > 0) return;
            foreach (var (drain, of) in _drains) Assert.Equal(of.TrueForAll(c => !_live.Contains(c)), drain.Task.IsCompleted);
            foreach (var command in _live.Concat(_done).Where(c => c.WasBlocked))
                Assert.Equal(command.Place.State == TaskState.Blocked ? 0 : 1, command.Grants + command.Refusals);
        }

        /// <summary>When everything that runs ends, all is over.</summary>
        public void Finish()
        {
            for (int i = 0; _live.Count > 0; i++)
            {
                Assert.True(i < 1000, $"nothing goes on: {State}");
                foreach (var command in _live.Where(c => c.Place.State is TaskState.Running or TaskState.Ended or TaskState.Collecting).ToList())
                {
                    var before = Running();
                    _set.End(command);
                    _set.Leave(command);
                    _live.Remove(command);
                    _done.Add(command);
                    _queue.RunAll();
                    Check(before);
                }
            }
            Assert.Equal(0, _set.Count);
            Assert.All(_done.Where(c => c is { WasBlocked: true, IsAborted: false }), c => Assert.Equal(1, c.Grants));
        }
    }

    [Fact]
    public void BehavesLikeTheModel()
    {
        int seed = int.TryParse(Environment.GetEnvironmentVariable("LUNKIT_SEED"), out int given) ? given : 1;
        for (int run = 0; run < 120; run++)
        {
            var world = new World(seed * 1000 + run);
            int step = 0;
            try
            {
                for (; step < 150; step++) world.Step();
                world.Finish();
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed * 1000 + run}, step {step}: {world.State}", e);
            }
        }
    }
}
