using System.Text;
using LunKit.App.Serve;
using LunKit.Linux;
using LunKit.Targets;

namespace LunKit.App.Config;

/// <summary>A configuration that was read, and what is to be said about it.</summary>
/// <param name="Config">The configuration; null when it cannot be served.</param>
/// <param name="Errors">What is wrong or doubtful, in the order of the file.</param>
internal sealed record ConfigResult(LunKitConfig? Config, IReadOnlyList<ConfigError> Errors)
{
    /// <summary>The configuration. Throws <see cref="UserException"/> with all errors, a line each, when it cannot be served.</summary>
    /// <param name="file">The file's name, for the lines.</param>
    public LunKitConfig Checked(string file) => Config
        ?? throw new UserException($"{file} cannot be served:\n{string.Join("\n", Errors.Select(e => ConfigErrors.Line(file, e)))}", 2);
}

/// <summary>Reads <c>lunkit.yaml</c>.</summary>
internal static class ConfigFile
{
    private const string Smallest = "{units: {disk1: {kind: file, path: /srv/disk1.img, size: 10G}}, targets: {'iqn.2026-11.local.lunkit:disk': {luns: {0: disk1}}}}";

    /// <summary>Reads a file. Throws <see cref="UserException"/> when it cannot be read at all.</summary>
    public static ConfigResult Read(string path)
    {
        try
        {
            if (FileKinds.Of(path) == FileKind.Regular && new FileInfo(path).Length > ConfigReader.MostBytes)
                throw new UserException($"{path} has more than {ConfigReader.MostBytes >> 20} MiB: it is no configuration", 2);
            // A pipe says its length to nobody.
            using var reader = new StreamReader(path, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true));
            var text = new StringBuilder();
            var piece = new char[64 * 1024];
            for (int count; text.Length <= ConfigReader.MostBytes && (count = reader.ReadBlock(piece, 0, piece.Length)) > 0;) text.Append(piece, 0, count);
            return Parse(text.ToString());
        }
        catch (DecoderFallbackException)
        {
            throw new UserException($"{path} is not UTF-8 text: it is no configuration", 2);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new UserException($"configuration {path} cannot be read: {(e is ArgumentException ? e.Message : FileErrors.Why(e))}", inner: e);
        }
    }

    /// <summary>Reads a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="portal">Reads an address; null: the names of hosts are looked up.</param>
    public static ConfigResult Parse(string text, Func<string, Portal>? portal = null)
    {
        var errors = new ConfigErrors();
        var root = ConfigReader.Read(text, errors);
        if (!errors.Any && root is null or ConfigScalar { IsEmpty: true }) errors.Add(new(1, 1), $"the file is empty; `units: {{}}` is the smallest, which serves nothing, and the smallest that serves a disk is {Smallest}");
        if (root is null || errors.Any) return new(null, errors.All);
        ConfigShape.Root.Check(root, errors);
        var config = ConfigBinder.Bind(root, errors, portal ?? ServeOptions.ParsePortal);
        return new(errors.Any ? null : config, errors.All);
    }
}
