using Xunit;

namespace LunKit.Conformance.Libiscsi;

/// <summary>
/// Every test of libiscsi's suite, in two versions, against one kind of unit, one process per test (in one process an earlier test's
/// hook can damage later ones). Each test runs on the LUN variant that it needs: none is skipped for want of a LUN type.
/// </summary>
public abstract class LibiscsiSuite(LibiscsiSuite.Server server)
{
    private const string Chap = "tester:secret-of-tests", ChapInUrl = "tester%secret-of-tests@";

    /// <summary>Tests that cannot pass or run on any target, and why; with a version in front only there.</summary>
    private static readonly Dictionary<string, string> s_impossible = new()
    {
        ["1.19 iSCSITMF.LUNResetSimpleAsync"] = "libiscsi 1.19 asserts its reconnect before it sends the reset (mended upstream in 2020)",
        ["1.20 CompareAndWrite.InvalidDataOutSize"] =
            "libiscsi 1.20 changes its Data-Out PDUs instead of its command: what it sends is valid (right in 1.19)",
        ["WriteSame10.ZeroBlocks"] = "tests WSNZ = 0; a WRITE SAME of no blocks is refused here (WSNZ = 1)",
        ["WriteSame16.ZeroBlocks"] = "tests WSNZ = 0; a WRITE SAME of no blocks is refused here (WSNZ = 1)",
        ["WriteAtomic16.VPD"] = "tests alignment restrictions of WRITE ATOMIC; there are none here",
    };

    /// <summary>Pairs of version and test.</summary>
    public static TheoryData<string, string> Tests
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string version in (string[])["1.19", "1.20"])
            {
                string list = Path.Combine(Repository.Root, $"tests/LunKit.Conformance/Libiscsi/tests-{version}.txt");
                foreach (string test in File.ReadAllLines(list).Where(l => l.Length > 0)) data.Add(version, test);
            }
            return data;
        }
    }

    protected async Task Run(string version, string test)
    {
        string program = "iscsi-test-cu";
        if (version == "1.19")
        {
            Tool.Require(program);
        }
        else
        {
            program = Path.Combine(Repository.Root, $"artifacts/tools/libiscsi-{version}/iscsi-test-cu");
            Assert.SkipUnless(File.Exists(program), $"needs libiscsi's test suite {version} (eng/get-libiscsi-{version} unpacks it)");
        }
        Assert.SkipWhen(server.Missing is not null, server.Missing ?? "");
        if (s_impossible.TryGetValue(test, out var reason) || s_impossible.TryGetValue($"{version} {test}", out reason))
        {
            Scoreboard.Count(version, server.Name, skipped: 1);
            Assert.Skip(reason);
        }
        // The multi-path tests see the unit through two portals.
        string url = server.Url(test), otherPath = server.Url(test, portal: 1);
        // Only there is the family that has all tests short of this one.
        string family = test.StartsWith("ReportLUNs.", StringComparison.Ordinal) ? "SCSI" : "ALL";
        // Sanitize.Reset sleeps a minute between two looks at the progress.
        var (status, output) = await Tool.RunAsync(
            program, ["--dataloss", "--allow-sanitize", "-V", "-t", $"{family}.{test}", url, otherPath], limitSeconds: 150);
        bool skipped = output.Contains("[SKIPPED]", StringComparison.Ordinal), ran = output.Contains("Run Summary", StringComparison.Ordinal);
        bool passed = status == 0 && ran && !skipped;
        Scoreboard.Count(version, server.Name, passed ? 1 : 0, passed || (status == 0 && skipped) ? 0 : 1, status == 0 && skipped ? 1 : 0);
        Assert.True(passed, $"{version} {test} ended with {status}{(skipped ? " (skipped itself)" : "")}:\n{output}");
    }

    private static int LunFor(string test, int block) => test switch
    {
        // Compares the answer for LBA i+1 with i + blocks per physical block: right only where that is 1.
        "GetLBAStatus.UnmapSingle" => 1,
        // Its structure for usage data has 16 bytes.
        "ReportSupportedOpcodes.OneCommand" => 2,
        _ when test.StartsWith("PreventAllow.", StringComparison.Ordinal) => 3,
        _ when test.StartsWith("StartStopUnit.", StringComparison.Ordinal) => 3,
        "NoMedia.NoMediaSBC" => 3,
        "ReadOnly.ReadOnlySBC" => 4,
        // Expects zeroes in one block more than it writes.
        "MultipathIO.CompareAndWrite" => 5,
        // Wants to see the operation going on several seconds later.
        "Sanitize.Reset" => 6,
        // Wants twice the longest segment.
        "ExtendedCopy.Large" => 7,
        // Their WRITE(10) of one block has 512 bytes of data: less than a block is refused.
        _ when test.StartsWith("ProutReserve.Access", StringComparison.Ordinal) && block > 512 => 8,
        _ => 0,
    };

    /// <summary>One server with all LUN variants of a kind of unit.</summary>
    public abstract class Server(string name, string kind, int block, int physical) : IAsyncLifetime
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-libiscsi-").FullName;
        private readonly string _handlers = HandlerRun.NewPath();
        private readonly List<string> _subtypes = [];
        private HandlerRun? _handler;

        internal LunKitProcess Process { get; private set; } = null!;

        /// <summary>What is missing to run it; null when nothing is.</summary>
        public string? Missing { get; private set; }

        public string Name { get; } = name;

        public string Kind => kind;

        public async ValueTask InitializeAsync()
        {
            Missing = kind switch { "rbd" => CephCluster.Missing, "gluster" => GlusterCluster.Missing, _ => null };
            if (Missing is not null) return;
            string common = $",block={block},physical={physical}";
            List<Task<string>> units =
            [
                Unit(0, 256, common),
                Unit(1, 64, $",block={block},physical={block}"),
                Unit(2, 64, common + ",longcdbs=off"),
                Unit(3, 64, common + ",removable"),
                Unit(4, 64, common + ",readonly"),
                Unit(5, 64, common),
                Unit(6, 200, common + ",eraserate=20M"),
                Unit(7, block / 8, common),
            ];
            if (block > 512) units.Add(Unit(8, 64, ",block=512,physical=512", 512));
            Process = await LunKitProcess.StartAsync(
                ["--handlers", _handlers, "--cold-reset", "--chap", Chap, .. await Task.WhenAll(units)]);
            if (_subtypes.Count > 0) _handler = HandlerRun.Start(_handlers, [.. _subtypes.SelectMany(s => new[] { "--subtype", s })]);
        }

        internal string Url(string test, int portal = 0) =>
            Process.Url(LunFor(test, block), portal).Replace("//", "//" + ChapInUrl, StringComparison.Ordinal);

        private async Task<string> Unit(int lun, int megabytes, string options, int? size = null)
        {
            if (kind == "rbd") return await (await CephCluster.SharedAsync()).CreateAsync($"iscsi{block}-{lun}", megabytes) + options;
            if (kind == "gluster") return await (await GlusterCluster.SharedAsync()).CreateAsync($"iscsi{block}-{lun}.img", megabytes) + options;
            if (kind == "memory") return $"memory:{megabytes}M{options}";
            if (kind == "user")
            {
                // Its options are the handler's affair; the target knows size and blocks.
                _subtypes.Add($"l{lun}=memory:{{size}}{options}");
                return $"user:l{lun}/x,size={megabytes}M,block={size ?? block}";
            }
            string path = Path.Combine(_folder, $"lun{lun}.img");
            using (var file = File.Create(path)) file.SetLength((long)megabytes << 20);
            return $"file:{path}{options}";
        }

        public async ValueTask DisposeAsync()
        {
            if (Process is not null) await Process.DisposeAsync();
            if (_handler is not null) await _handler.DisposeAsync();
            Directory.Delete(_folder, recursive: true);
            GC.SuppressFinalize(this);
        }
    }
}

public sealed class Memory512(Memory512.Unit unit) : LibiscsiSuite(unit), IClassFixture<Memory512.Unit>
{
    public sealed class Unit() : Server("memory 512e", "memory", 512, 4096);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}

public sealed class Memory4096(Memory4096.Unit unit) : LibiscsiSuite(unit), IClassFixture<Memory4096.Unit>
{
    public sealed class Unit() : Server("memory 4Kn", "memory", 4096, 16384);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}

public sealed class File512(File512.Unit unit) : LibiscsiSuite(unit), IClassFixture<File512.Unit>
{
    public sealed class Unit() : Server("file 512e", "file", 512, 4096);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}

public sealed class File4096(File4096.Unit unit) : LibiscsiSuite(unit), IClassFixture<File4096.Unit>
{
    public sealed class Unit() : Server("file 4Kn", "file", 4096, 16384);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}

/// <summary>On images of a Ceph cluster.</summary>
public sealed class Rbd512(Rbd512.Unit unit) : LibiscsiSuite(unit), IClassFixture<Rbd512.Unit>
{
    public sealed class Unit() : Server("rbd 512e", "rbd", 512, 4096);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}

/// <summary>On files of a Gluster volume.</summary>
public sealed class Gluster512(Gluster512.Unit unit) : LibiscsiSuite(unit), IClassFixture<Gluster512.Unit>
{
    public sealed class Unit() : Server("gluster 512e", "gluster", 512, 4096);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}

/// <summary>The same through a handler process: what passes in process passes out of process.</summary>
public sealed class Handler512(Handler512.Unit unit) : LibiscsiSuite(unit), IClassFixture<Handler512.Unit>
{
    public sealed class Unit() : Server("handler 512e", "user", 512, 4096);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}

public sealed class Handler4096(Handler4096.Unit unit) : LibiscsiSuite(unit), IClassFixture<Handler4096.Unit>
{
    public sealed class Unit() : Server("handler 4Kn", "user", 4096, 16384);

    [Theory, MemberData(nameof(Tests), MemberType = typeof(LibiscsiSuite))]
    public Task Passes(string version, string test) => Run(version, test);
}
