using System.Globalization;

namespace LunKit.Ceph;

/// <summary>
/// What a client writes into the metadata of an image that it opens to write: which process of which machine it is, and its address in the
/// cluster. A process that comes after one that was killed knows by it whose exclusive lock is nobody's any more, and need not wait until the
/// cluster finds that out.
/// </summary>
/// <param name="Boot">Boot of the machine: another machine, or another boot, is not judged.</param>
/// <param name="Namespace">Namespace of process ids.</param>
/// <param name="ProcessId">The process.</param>
/// <param name="Started">When it started, in ticks since the boot: a process id may be another's by now.</param>
/// <param name="Address">Its address in the cluster, which owns the lock.</param>
internal sealed record ClientMark(string Boot, string Namespace, int ProcessId, long Started, string Address)
{
    /// <summary>The metadata's key.</summary>
    public const string Key = "lunkit.client";

    /// <summary>This process with an address.</summary>
    public static ClientMark Own(string address) => new(OwnBoot, OwnNamespace, Environment.ProcessId, StartOf("self"), address);

    private static string OwnBoot { get; } = ReadOr("/proc/sys/kernel/random/boot_id", "?");

    private static string OwnNamespace { get; } = File.ResolveLinkTarget("/proc/self/ns/pid", false)?.Name ?? "?";

    /// <summary>Parses what <see cref="ToString"/> gives; null for anything else.</summary>
    public static ClientMark? Parse(string text)
    {
        var parts = text.Split(' ');
        return parts.Length == 5 && int.TryParse(parts[2], NumberStyles.None, CultureInfo.InvariantCulture, out int pid) && long.TryParse(parts[3], NumberStyles.None, CultureInfo.InvariantCulture, out long started)
            ? new ClientMark(parts[0], parts[1], pid, started, parts[4]) : null;
    }

    /// <summary>Whether that process has certainly ended.</summary>
    public bool IsGone => Boot == OwnBoot && Boot != "?" && Namespace == OwnNamespace && Namespace != "?" && StartOf(ProcessId.ToString(CultureInfo.InvariantCulture)) != Started;

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Boot} {Namespace} {ProcessId} {Started} {Address}");

    /// <summary>Field 22 of /proc/PID/stat; -1 when there is no such process.</summary>
    private static long StartOf(string process)
    {
        string stat = ReadOr($"/proc/{process}/stat", "");
        // The name, in parentheses, may have any letters.
        var fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length > 19 && fields[0] is not ("Z" or "X") && long.TryParse(fields[19], NumberStyles.None, CultureInfo.InvariantCulture, out long start) ? start : -1;
    }

    private static string ReadOr(string path, string otherwise)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return otherwise;
        }
    }
}
