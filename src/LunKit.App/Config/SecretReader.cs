using LunKit.Linux;
using LunKit.Targets;

namespace LunKit.App.Config;

/// <summary>Reads CHAP credentials: the secret from the file itself, from one of its own, or from systemd. No message has a secret in it.</summary>
internal sealed class SecretReader(ConfigErrors errors)
{
    // RFC 7143 12.1.3: 96 bits.
    private const int GoodLength = 12, MostLength = 256;

    private static readonly string[] s_places = ["secret", "secret-file", "credential"];

    /// <summary>The credential of a map; with an empty secret when that cannot be read, which is noted; null when it has no user.</summary>
    public ChapCredential? Read(ConfigMap map)
    {
        var section = new ConfigSection(map);
        var given = s_places.Where(p => section.Text(p) is not null).ToList();
        if (section.Text("user") is not { } user) return null;
        if (given.Count != 1)
        {
            errors.Add(map.Place, $"write one of {string.Join(", ", s_places)} for user {user}; there are {given.Count}");
            return new(user, "");
        }
        var place = section.Node(given[0])!.Place;
        string value = section.Text(given[0])!;
        if ((given[0] == "secret" ? value : ReadFile(given[0] == "secret-file" ? value : CredentialPath(value, place), place)) is not { } secret) return new(user, "");
        if (secret.Length is 0 or > MostLength) errors.Add(place, $"the secret of {user} has {secret.Length} characters; 1 to {MostLength} are possible");
        else if (secret.Length < GoodLength) errors.Warn(place, $"the secret of {user} has fewer than {GoodLength} characters; a listener could guess it");
        return new(user, secret);
    }

    private string? CredentialPath(string name, ConfigPlace place)
    {
        if (name.Contains('/')) errors.Add(place, $"'{name}' is not the name of a credential: it has a '/'");
        else if (Environment.GetEnvironmentVariable("CREDENTIALS_DIRECTORY") is { Length: > 0 } folder) return Path.Combine(folder, name);
        else errors.Add(place, $"credential {name}: systemd has given none to this process ($CREDENTIALS_DIRECTORY is not set); write LoadCredential={name}:PATH into its unit");
        return null;
    }

    private string? ReadFile(string? path, ConfigPlace place)
    {
        if (path is null) return null;
        try
        {
            // A pipe could be one that nobody writes into.
            if (new FileInfo(path).Length > 4096 || FileKinds.Of(path) != FileKind.Regular) throw new IOException("it is no file with a secret in its first line");
            if ((File.GetUnixFileMode(path) & (UnixFileMode.GroupRead | UnixFileMode.OtherRead)) != 0) errors.Warn(place, $"other users of this machine can read the secret in {path}: chmod 600 {path}");
            return File.ReadLines(path).FirstOrDefault()?.Trim() ?? "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            errors.Add(place, $"the secret in {path} cannot be read: {(e is IOException or UnauthorizedAccessException ? FileErrors.Why(e) : e.Message)}");
            return null;
        }
    }
}
