using LunKit.App.Serve;

namespace LunKit.App.Handle;

/// <summary>
/// Configurations as tcmu-runner's handlers take them, in LunKit's words: a device that was made for tcmu-runner is served unchanged. Throw
/// <see cref="UserException"/> for what neither understands.
/// </summary>
internal static class TcmuRunnerConfig
{
    /// <summary><c>pool/image[;osd_op_timeout=N][;conf=PATH][;id=USER]</c>; LunKit also takes a namespace and a keyring.</summary>
    public static string OfRbd(string config)
    {
        string[] parts = config.Split(';');
        return string.Join(',', parts.Skip(1).Where(p => p.Length > 0).Select(Option).Prepend(parts[0]));

        string Option(string part)
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals], value = equals < 0 ? "" : part[(equals + 1)..];
            return key switch
            {
                "osd_op_timeout" => $"timeout={value}",
                "conf" or "id" or "keyring" or "cache" => $"{key}={value}",
                _ => throw new UserException($"rbd/{config}: '{key}' is not osd_op_timeout, conf, id, keyring or cache", 2),
            };
        }
    }

    /// <summary><c>volume@host[:port]/path</c>.</summary>
    public static string OfGlfs(string config)
    {
        int at = config.IndexOf('@', StringComparison.Ordinal), slash = at < 0 ? -1 : config.IndexOf('/', at);
        if (at < 1 || slash < at + 2 || slash == config.Length - 1) throw new UserException($"glfs/{config}: write glfs/VOLUME@HOST/PATH, e.g. glfs/gv0@storage1/disk.img", 2);
        return $"{config[(at + 1)..slash]}/{config[..at]}/{config[(slash + 1)..]}";
    }
}
