using System.Globalization;
using System.Text.Json.Nodes;

namespace LunKit.App.Config.Convert;

/// <summary>tgt's <c>targets.conf</c>, as tgt-admin reads it, without the files that it includes.</summary>
internal static class TgtConverter
{
    // They have a meaning for tgt that LunKit does not need to be told.
    private static readonly HashSet<string> s_understood = new(StringComparer.OrdinalIgnoreCase) { "lun", "write-cache", "readonly", "scsi_sn", "block-size", "bs-type", "driver", "allow-in-use" };

    private sealed record Disk(string Path, bool IsDirect, Dictionary<string, string> Options);

    public static void Convert(string text, Conversion to)
    {
        var lines = Lines(text).ToList();
        for (int i = 0; i < lines.Count; i++)
        {
            var (word, rest) = lines[i];
            if (word == "<target")
            {
                int end = lines.FindIndex(i, l => l.Word == "</target>");
                Target(rest, lines[(i + 1)..(end < 0 ? lines.Count : end)], to);
                if (end < 0) to.Lose($"target {rest}: it has no </target>");
                i = end < 0 ? lines.Count : end;
            }
            else if (word == "include") to.Lose($"include {rest}: convert those files one by one");
            else if (word is "incomingdiscoveryuser" && rest.Split(' ', 2) is [var user, var secret]) to.AddDiscovery(Conversion.Credential(user, secret.Trim('"')));
            else if (word is not "default-driver" || rest != "iscsi") to.Lose($"{word} {rest}");
        }
        to.AddPortal(":3260");
        to.Lose("identities: disks have other serial numbers and WWIDs than tgt gave them, unless scsi_sn was set; names in /dev/disk/by-id and multipath bindings change");
    }

    /// <summary>Words and what stands behind them; comments and empty lines are gone. <c>&lt;a b&gt;</c> is the word <c>&lt;a</c>.</summary>
    private static IEnumerable<(string Word, string Value)> Lines(string text)
    {
        foreach (string raw in text.Split('\n'))
        {
            int comment = raw.IndexOf('#', StringComparison.Ordinal);
            string line = (comment < 0 ? raw : raw[..comment]).Trim();
            if (line.Length == 0) continue;
            if (line.StartsWith('<') && !line.StartsWith("</", StringComparison.Ordinal)) line = line.TrimEnd('>').TrimEnd();
            string[] parts = line.Split((char[]?)null, 2, StringSplitOptions.RemoveEmptyEntries);
            yield return (parts[0].ToLowerInvariant(), parts.Length > 1 ? parts[1].Trim() : "");
        }
    }

    private static void Target(string name, IReadOnlyList<(string Word, string Value)> lines, Conversion to)
    {
        List<Disk> disks = [];
        Dictionary<string, string> common = new(StringComparer.OrdinalIgnoreCase);
        JsonArray chap = [];
        var acls = new JsonObject();
        JsonObject? mutual = null;
        bool isOpen = true, hasAddress = false;
        Disk? block = null;
        foreach (var (word, rest) in lines)
        {
            if (block is not null)
            {
                if (word is "</backing-store>" or "</direct-store>") block = null;
                else block.Options[word] = rest;
                continue;
            }
            switch (word)
            {
                case "backing-store" or "direct-store" or "<backing-store" or "<direct-store":
                    disks.Add(new(rest, word.EndsWith("direct-store", StringComparison.Ordinal), new(StringComparer.OrdinalIgnoreCase)));
                    if (word[0] == '<') block = disks[^1];
                    break;
                case "incominguser" when Credential(rest) is { } user: chap.Add((JsonNode)user); break;
                case "outgoinguser" when Credential(rest) is { } other: mutual = other; break;
                case "initiator-name":
                    acls[rest] = new JsonObject();
                    isOpen = false;
                    break;
                case "initiator-address":
                    if (!rest.Equals("ALL", StringComparison.OrdinalIgnoreCase)) hasAddress = true;
                    break;
                case "driver" when rest != "iscsi": to.Lose($"target {name}: driver {rest} is not iSCSI; it is served by TCP"); break;
                default:
                    if (s_understood.Contains(word)) common[word] = rest;
                    else to.Lose($"target {name}: {word} {rest}");
                    break;
            }
        }
        if (hasAddress) to.Lose($"target {name}: initiator-address: LunKit admits by name and CHAP, not by address{(isOpen && chap.Count == 0 ? "; give the target chap or acls, it has neither" : "")}");
        var result = new JsonObject { ["luns"] = Luns(name, disks, common, to) };
        if (chap.Count > 0) result["chap"] = chap;
        if (mutual is not null && chap.Count > 0) result["mutual-chap"] = mutual;
        else if (mutual is not null) to.Lose($"target {name}: outgoinguser without incominguser");
        if (acls.Count > 0) result["acls"] = acls;
        to.AddTarget(name, result);
    }

    private static JsonObject? Credential(string rest) =>
        rest.Split((char[]?)null, 2, StringSplitOptions.RemoveEmptyEntries) is [var user, var secret] ? Conversion.Credential(user, secret.Trim().Trim('"')) : null;

    private static JsonObject Luns(string name, List<Disk> disks, Dictionary<string, string> common, Conversion to)
    {
        var luns = new JsonObject();
        // LUN 0 is tgt's controller.
        var free = Enumerable.Range(1, 16383).Except(disks.Select(d => Number(d.Options.GetValueOrDefault("lun"))).OfType<int>()).GetEnumerator();
        foreach (var disk in disks)
        {
            var options = new Dictionary<string, string>(common, StringComparer.OrdinalIgnoreCase);
            foreach (var (key, value) in disk.Options) options[key] = value;
            if (Unit(disk, options) is not { } unit)
            {
                to.Lose($"target {name}: {disk.Path} (bs-type {options["bs-type"]}): LunKit has no such backstore, or cannot tell what it is");
                continue;
            }
            foreach (string key in disk.Options.Keys.Where(k => !s_understood.Contains(k))) to.Lose($"target {name}: {disk.Path}: {key} {disk.Options[key]}");
            if (disk.IsDirect) to.Lose($"target {name}: {disk.Path}: direct-store shows the device's own vendor and product; LunKit shows its own (kind: pscsi passes a SCSI device through)");
            int lun;
            if (Number(disk.Options.GetValueOrDefault("lun")) is { } given) lun = given;
            else if (free.MoveNext()) lun = free.Current;
            else continue;
            if (luns.ContainsKey($"{lun}")) to.Lose($"target {name}: {disk.Path}: LUN {lun} stands twice");
            else luns[$"{lun}"] = to.AddUnit(Path.GetFileNameWithoutExtension(disk.Path.TrimEnd('/')), unit);
        }
        free.Dispose();
        return luns;
    }

    private static int? Number(string? text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number <= 16383 ? number : null;

    private static JsonObject? Unit(Disk disk, Dictionary<string, string> options)
    {
        bool isDevice = disk.Path.StartsWith("/dev/", StringComparison.Ordinal);
        var unit = options.GetValueOrDefault("bs-type") switch
        {
            null or "rdwr" or "aio" or "mmap" => isDevice ? new JsonObject { ["kind"] = "block", ["device"] = disk.Path } : new() { ["kind"] = "file", ["path"] = disk.Path },
            "sg" => new() { ["kind"] = "pscsi", ["device"] = disk.Path },
            "rbd" => new() { ["kind"] = "rbd", ["image"] = disk.Path },
            "null" => new() { ["kind"] = "null", ["size"] = "1T" },
            "glfs" when disk.Path.Split('@', 2) is [var volume, var place] && place.Contains('/') => new() { ["kind"] = "gluster", ["location"] = $"{place.Split('/', 2)[0]}/{volume}/{place.Split('/', 2)[1]}" },
            _ => null,
        };
        if (unit is null || (string)unit["kind"]! == "pscsi") return unit;
        if (options.GetValueOrDefault("block-size") is "4096") unit["block"] = "4096";
        if (options.GetValueOrDefault("readonly") is "1" or "on" or "yes") unit["readonly"] = true;
        if (options.GetValueOrDefault("write-cache") is "off") unit["writecache"] = false;
        if (options.GetValueOrDefault("scsi_sn") is { Length: > 0 } serial) unit["serial"] = serial.Trim('"');
        return unit;
    }
}
