using System.Net;
using System.Text;
using LunKit.App.Config;
using LunKit.App.Serve;
using LunKit.Targets;

namespace LunKit.Fuzz;

/// <summary>
/// Any configuration file: it can be served, or there are errors, each of one place in the file. What can be served, and is written out, can be served again.
/// </summary>
internal sealed class ConfigTarget() : FuzzTarget("config")
{
    public override void Run(byte[] input)
    {
        string text = Encoding.UTF8.GetString(input);
        var result = ConfigFile.Parse(text, Portal);
        if (result.Config is null == result.Errors.All(e => e.IsWarning)) throw new InvalidOperationException("neither a configuration nor an error, or both");
        int lines = text.Count(c => c is '\n' or '\r' or '\u0085' or '\u2028' or '\u2029') + 2;
        foreach (var error in result.Errors)
            if (error.Place.Line < 1 || error.Place.Line > lines || error.Place.Column < 1 || error.Text.Length == 0) throw new InvalidOperationException($"an error at {error.Place} of {lines} lines");
        if (result.Config is not { } config) return;
        var again = ConfigFile.Parse(YamlText.Of(ConfigDocument.Of(config)), Portal);
        if (again.Config is null) throw new InvalidOperationException($"what is in force cannot be served: {string.Join("; ", again.Errors.Select(e => e.Text))}\n{YamlText.Of(ConfigDocument.Of(config))}");
        foreach (var change in new ConfigDifference(config, again.Config).Changes)
            // Secrets are hidden.
            if (!change.What.Contains("CHAP", StringComparison.Ordinal) && !change.What.Contains("may do", StringComparison.Ordinal)) throw new InvalidOperationException($"what is written out is another: {change.What}");
    }

    // Names of hosts are looked up elsewhere.
    private static Portal Portal(string text)
    {
        return IPEndPoint.TryParse(text.Split(',')[0], out var point) && point.Port != 0 ? ServeOptions.ParsePortal(text) : throw new UserException("no address", 2);
    }
}
