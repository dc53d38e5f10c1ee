using System.CommandLine;
using System.Text.Json;
using LunKit.App.CommandLine;
using LunKit.App.Serve;
using LunKit.Linux;

namespace LunKit.App.Config.Convert;

/// <summary><c>lunkit config convert</c>: another program's configuration as LunKit's.</summary>
internal static class ConvertCommand
{
    // Some thousand disks.
    private const int MostBytes = 64 << 20;

    public static AppCommand Create()
    {
        var file = new Argument<string>("FILE") { Description = "saveconfig.json of LIO, targets.conf of tgt, or the object gateway.conf of ceph-iscsi" };
        var output = new Option<string?>("--output") { Description = "Write into this new file, which only its owner can read: secrets are in it (default: standard output)", HelpName = "FILE" };
        var command = new AppCommand("convert", "Make a configuration of another target's. What cannot be carried over is listed at its head, and on standard error.", file, output)
        {
            Examples =
            [
                ("lunkit config convert /etc/target/saveconfig.json", "LIO (targetcli)"),
                ("lunkit config convert /etc/tgt/targets.conf --output lunkit.yaml", "tgt"),
                ("lunkit config convert gateway.conf", "ceph-iscsi; `rados -p rbd get gateway.conf gateway.conf` before"),
            ],
        };
        command.SetAction(result => Run(Console.Out, Console.Error, result.GetValue(file)!, result.GetValue(output)));
        return command;
    }

    /// <summary>Converts a file; 0 when the result can be served as it is, else 1.</summary>
    public static int Run(TextWriter output, TextWriter errors, string file, string? into)
    {
        var (text, notCarried) = Convert(Read(file), file);
        var result = ConfigFile.Parse(text);
        foreach (string line in notCarried) errors.WriteLine($"not carried over: {line}");
        foreach (var error in result.Errors) errors.WriteLine(ConfigErrors.Line(into ?? "the result", error));
        if (into is null) output.Write(text);
        else Write(into, text);
        return result.Config is null ? 1 : 0;
    }

    /// <summary>The configuration, and what is not carried over. Throws <see cref="UserException"/> for what is none of the three.</summary>
    public static (string Text, IReadOnlyList<string> NotCarried) Convert(string text, string from)
    {
        var to = new Conversion();
        if (text.TrimStart().StartsWith('{')) ConvertJson(text, from, to);
        else if (text.Contains("<target", StringComparison.OrdinalIgnoreCase)) TgtConverter.Convert(text, to);
        else throw NotKnown(from);
        return (to.Text(from), to.NotCarried);
    }

    private static void ConvertJson(string text, string from, Conversion to)
    {
        try
        {
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 64 });
            var file = new JsonView(document.RootElement);
            if (file["storage_objects"].IsThere) LioConverter.Convert(file, to);
            else if (file["disks"].IsMap && file["targets"].IsMap) CephConverter.Convert(file, to);
            else throw NotKnown(from);
        }
        catch (JsonException e)
        {
            throw new UserException($"{from}:{e.LineNumber + 1}: this is not JSON, or it is cut off", 2, e);
        }
    }

    private static UserException NotKnown(string from) => new($"{from} is neither LIO's saveconfig.json, nor tgt's targets.conf, nor ceph-iscsi's gateway.conf", 2);

    private static string Read(string file)
    {
        try
        {
            if (new FileInfo(file).Length > MostBytes) throw new UserException($"{file} has more than {MostBytes >> 20} MiB: it is no configuration", 2);
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new UserException($"{file} cannot be read: {(e is ArgumentException ? e.Message : FileErrors.Why(e))}", inner: e);
        }
    }

    private static void Write(string into, string text)
    {
        try
        {
            using var stream = new FileStream(into, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });
            using var writer = new StreamWriter(stream);
            writer.Write(text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new UserException($"{into} cannot be written: {(e is ArgumentException ? e.Message : FileErrors.Why(e))}", inner: e);
        }
    }
}
