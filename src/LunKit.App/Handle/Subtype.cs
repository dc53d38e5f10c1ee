using System.Globalization;
using LunKit.App.Serve;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Handle;

/// <summary>A subtype of <c>lunkit handle</c>: its name, what it opens, and what its configuration is, in words.</summary>
internal sealed record Subtype(string Name, string Template, string Description)
{
    /// <summary>Turns tcmu-runner's way to write a configuration into what {path} is to be; null where they are the same.</summary>
    public Func<string, string>? Translate { get; init; }

    // Stands for the device's size and blocks where only the words are checked.
    private const long AnySize = 1 << 20;
    private const int AnyBlock = 512;

    public static IReadOnlyList<Subtype> BuiltIn { get; } =
    [
        new("file", "file:{path},size={size},block={block}", "Path of the image file, e.g. /srv/disk.img; it is created if it does not exist"),
        new("block", "block:{path},block={block}", "Path of the block device, e.g. /dev/sdb; nobody else may use it meanwhile"),
        new("rbd", "rbd:{path},size={size},block={block}", "POOL[/NAMESPACE]/IMAGE[;osd_op_timeout=SECONDS][;conf=PATH][;id=USER][;keyring=PATH], e.g. rbd/disk1;id=lunkit") { Translate = TcmuRunnerConfig.OfRbd },
        new("glfs", "gluster:{path},size={size},block={block}", "VOLUME@HOST[:PORT]/PATH, e.g. gv0@storage1/disk.img; the file is created if it does not exist") { Translate = TcmuRunnerConfig.OfGlfs },
        new("pscsi", "pscsi:{path}", "Node of the SCSI device, e.g. /dev/sg3; commands pass to it unchanged"),
        new("memory", "memory:{size},block={block}", "Any name; the disk is in memory and thin"),
        new("null", "null:{size},block={block}", "Any name; takes writes, reads zeroes"),
    ];

    /// <summary>NAME=BACKSTORE, as <c>--subtype</c> takes it.</summary>
    public static Subtype Parse(string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        if (equals < 1) throw new UserException($"--subtype '{text}': write NAME=BACKSTORE, e.g. images=file:/srv/{{path}},size={{size}}", 2);
        string template = text[(equals + 1)..];
        var subtype = new Subtype(text[..equals], template, $"What {{path}} stands for in {template}");
        _ = Check(subtype.Expand("x", AnySize, AnyBlock));
        return subtype;
    }

    /// <summary>Opens devices of this subtype.</summary>
    /// <param name="log">Log of the units.</param>
    /// <param name="folder">Where the state of units is kept that are no files.</param>
    public TcmuUnitFactory Factory(ILogger log, StateFolder folder) => (config, _) =>
    {
        try
        {
            // Without a size nothing is created: what was there before must be there.
            var subtype = config.MustExist ? this with { Template = Template.Replace(",size={size}", "", StringComparison.Ordinal) } : this;
            string text = subtype.Expand(config.Path, config.SizeBytes, config.BlockSize);
            var states = config.StateWasKept ? folder.ThatMustWork : folder;
            if (config.MustExist && Missing(config.Path) is { } missing)
                throw new TcmuException($"{missing} is missing, and the device was there before: its file system is not mounted, or somebody has moved the image");
            return ValueTask.FromResult<LogicalUnit>(PassThroughSpec.Matches(text) ? PassThroughSpec.Parse(text).Open(readOnly: false, log, states)
                : BackstoreSpec.Parse(text).Open(readOnly: false, writeCache: true, config.DeviceName, log, config.Identity, states, config.Succession));
        }
        catch (UserException e)
        {
            // Its words are the operator's; what is below it tells the kernel which error it was.
            throw new TcmuException(e.Message, e.InnerException);
        }
    };

    /// <summary>The image file of a configuration that is not there; null where there is one, or the configuration is none of an image file.</summary>
    public string? Missing(string path) => Image(path) is { } image && !File.Exists(image) ? image : null;

    /// <summary>The image file of a configuration; null where it is none of an image file.</summary>
    public string? Image(string path)
    {
        try
        {
            return Check(Expand(path, AnySize, AnyBlock)) is { Kind: "file" } spec ? spec.Argument : null;
        }
        catch (UserException)
        {
            return null;
        }
    }

    /// <summary>Why a configuration, without the subtype, cannot be opened, as far as that can be said without opening it; or null.</summary>
    public string? WhyNot(string path)
    {
        try
        {
            var spec = Check(Expand(path, AnySize, AnyBlock));
            if (spec?.Kind != "file") return null;
            if (Directory.Exists(spec.Argument)) return $"{spec.Argument} is a folder";
            string folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(spec.Argument)) ?? "/";
            return Directory.Exists(folder) ? null : $"the folder {folder} does not exist";
        }
        catch (UserException e)
        {
            return e.Message;
        }
    }

    /// <summary>Whether a text says something that can be opened; null for a device that is passed through.</summary>
    private static BackstoreSpec? Check(string text)
    {
        if (!PassThroughSpec.Matches(text)) return BackstoreSpec.Parse(text);
        _ = PassThroughSpec.Parse(text);
        return null;
    }

    private string Expand(string path, long sizeBytes, int blockSize) => Template
        .Replace("{path}", Translate?.Invoke(path) ?? path, StringComparison.Ordinal)
        .Replace("{size}", sizeBytes.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
        .Replace("{block}", blockSize.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
}
