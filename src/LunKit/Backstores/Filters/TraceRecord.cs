using System.Text.Unicode;

namespace LunKit.Backstores;

/// <summary>One operation of a trace, with its line in the file.</summary>
/// <param name="Begun">When it began, since the beginning of the trace.</param>
/// <param name="Latency">How long it took.</param>
/// <param name="Call">The operation.</param>
/// <param name="Result">How it ended: "ok", "miscompare", "cancelled", the name of a <see cref="BackstoreError"/>, or that of an exception.</param>
internal readonly record struct TraceRecord(TimeSpan Begun, TimeSpan Latency, BackstoreCall Call, string Result)
{
    /// <summary>Longer than any line.</summary>
    public const int MostBytes = 512;

    private static readonly string[] s_errors = Enum.GetNames<BackstoreError>();

    /// <summary>The result of an operation that has ended so.</summary>
    public static string ResultOf(Exception? failure, long difference) => failure switch
    {
        null => difference < 0 ? "ok" : "miscompare",
        BackstoreException e => s_errors[(int)e.Error],
        OperationCanceledException => "cancelled",
        _ => failure.GetType().Name,
    };

    /// <summary>The name of an operation in a trace.</summary>
    public static string NameOf(BackstoreOperation operation) => operation switch
    {
        BackstoreOperation.Read => "read",
        BackstoreOperation.Write => "write",
        BackstoreOperation.Flush => "flush",
        BackstoreOperation.Discard => "discard",
        BackstoreOperation.WriteZeroes => "zeroes",
        BackstoreOperation.WriteSame => "same",
        BackstoreOperation.CompareAndWrite => "compare",
        _ => "extent",
    };

    /// <summary>The operation of a name; null when there is none.</summary>
    public static BackstoreOperation? OperationOf(string name)
    {
        foreach (var operation in Enum.GetValues<BackstoreOperation>())
            if (NameOf(operation) == name) return operation;
        return null;
    }

    /// <summary>Writes the line, in UTF-8 and with its end; returns its length. The room is at least <see cref="MostBytes"/>.</summary>
    public int Write(Span<byte> room)
    {
        string fua = (Call.Options & WriteOptions.ForceUnitAccess) != 0 ? ",\"fua\":true" : "";
        return Utf8.TryWrite(room,
            $"{{\"at_us\":{Microseconds(Begun)},\"op\":\"{NameOf(Call.Operation)}\",\"offset\":{Call.Offset},\"length\":{Call.Length}{fua},\"latency_us\":{Microseconds(Latency)},\"result\":\"{Result}\"}}\n",
            out int written) ? written : throw new InvalidOperationException($"a line of a trace is longer than {MostBytes} bytes");
    }

    /// <summary>The line that says how many operations are missing here.</summary>
    public static int WriteDropped(Span<byte> room, long count)
    {
        Utf8.TryWrite(room, $"{{\"op\":\"dropped\",\"count\":{count}}}\n", out int written);
        return written;
    }

    // What began before the trace did is at its beginning.
    private static long Microseconds(TimeSpan time) => Math.Max(0, time.Ticks / TimeSpan.TicksPerMicrosecond);
}
