using System.Text.Json;
using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.App.Replay;

/// <summary>An operation of a trace: when it began, in microseconds from the beginning; what it was; how long it took, in microseconds.</summary>
internal readonly record struct RecordedOperation(long At, BackstoreCall Call, long Latency);

/// <summary>What the filter <c>trace</c> has written, read into memory, in the order in which the operations began.</summary>
/// <param name="Operations">The operations.</param>
/// <param name="Dropped">Operations that the trace misses: the file was slower than the disk.</param>
internal sealed record RecordedTrace(IReadOnlyList<RecordedOperation> Operations, long Dropped)
{
    /// <summary>Operations that are read at most: half a gigabyte of memory.</summary>
    public const int Most = 10_000_000;

    /// <summary>The longest transfer of an operation.</summary>
    public const int MostBytes = 64 << 20;

    /// <summary>Operations that change the data.</summary>
    public int Changes => Operations.Count(o => o.Call.Class is OperationClasses.Write or OperationClasses.Discard);

    /// <summary>The byte behind the last one that an operation reaches.</summary>
    public long End => Operations.Max(o => o.Call.Offset + o.Call.Length);

    /// <summary>The longest transfer.</summary>
    public int Longest => (int)Operations.Where(MovesData).Select(o => o.Call.Length).DefaultIfEmpty().Max();

    private static bool MovesData(RecordedOperation operation) =>
        operation.Call.Operation is BackstoreOperation.Read or BackstoreOperation.Write or BackstoreOperation.CompareAndWrite;

    /// <summary>Reads a file. Throws <see cref="UserException"/>, which names the line that is wrong.</summary>
    public static RecordedTrace Read(string path)
    {
        try
        {
            return Read(path, File.ReadLines(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"trace {path} cannot be read: {FileErrors.Why(e)}", inner: e);
        }
    }

    /// <summary>Reads lines.</summary>
    /// <param name="path">Where they are from, for messages.</param>
    /// <param name="lines">The lines. A file may have several traces behind one another; the next begins when the last has ended.</param>
    public static RecordedTrace Read(string path, IEnumerable<string> lines)
    {
        var operations = new List<RecordedOperation>();
        long number = 0, dropped = 0, start = 0, end = 0;
        UserException? cut = null;
        UserException Wrong(string what) => new($"trace {path}, line {number}: {what}; a trace is what the filter trace writes (docs/filters.md)");
        foreach (string line in lines)
        {
            number++;
            bool isHeader = line.StartsWith(TraceFile.Mark, StringComparison.Ordinal);
            if (number == 1 && !isHeader) throw Wrong("it does not begin as a trace does");
            // Half a line is the last of a process that was killed; anything else follows only as a trace of its own.
            if (cut is not null && !isHeader) throw cut;
            cut = null;
            if (isHeader)
            {
                start = end;
                continue;
            }
            try
            {
                using var json = JsonDocument.Parse(line);
                if (json.RootElement.GetProperty("op").GetString() == "dropped")
                {
                    dropped += json.RootElement.GetProperty("count").GetInt64();
                    continue;
                }
                var operation = Parse(json.RootElement, start, Wrong);
                end = Math.Max(end, operation.At + operation.Latency);
                operations.Add(operation);
            }
            catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
            {
                cut = Wrong($"'{(line.Length > 60 ? line[..60] + "..." : line)}' is no operation");
                continue;
            }
            if (operations.Count > Most) throw Wrong($"there are more than {Most} operations; cut the file into parts, each with the first line of this one");
        }
        if (operations.Count == 0) throw new UserException($"trace {path}: there is no operation in it", inner: cut);
        // A line is written when its operation has ended.
        operations.Sort((a, b) => a.At.CompareTo(b.At));
        return new(operations, dropped);
    }

    private static RecordedOperation Parse(JsonElement json, long start, Func<string, UserException> wrong)
    {
        string name = json.GetProperty("op").GetString() ?? "";
        var operation = TraceRecord.OperationOf(name) ?? throw wrong($"there is no operation '{name}'");
        long at = json.GetProperty("at_us").GetInt64(), offset = json.GetProperty("offset").GetInt64(), length = json.GetProperty("length").GetInt64();
        long latency = json.GetProperty("latency_us").GetInt64();
        bool isForced = json.TryGetProperty("fua", out var fua) && fua.GetBoolean();
        var recorded = new RecordedOperation(start + at, new(operation, offset, length, isForced ? WriteOptions.ForceUnitAccess : WriteOptions.None), latency);
        if (at < 0 || latency < 0 || offset < 0 || length < 0 || offset > long.MaxValue - length) throw wrong("a number is negative, or the range too long");
        if (MovesData(recorded) && length > MostBytes) throw wrong($"a transfer of {length} bytes is longer than {MostBytes}");
        return recorded;
    }
}
