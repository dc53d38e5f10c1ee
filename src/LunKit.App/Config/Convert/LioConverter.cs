using System.Text.Json.Nodes;

namespace LunKit.App.Config.Convert;

/// <summary>LIO's <c>saveconfig.json</c>, as targetcli and targetctl write it.</summary>
internal static class LioConverter
{
    public static void Convert(JsonView file, Conversion to)
    {
        Dictionary<string, string> units = new(StringComparer.Ordinal);
        foreach (var store in file["storage_objects"].Items)
            if (Unit(store, to) is { } unit) units[$"{store["plugin"].Text}/{store["name"].Text}"] = to.AddUnit(store["name"].Text ?? "unit", unit);
        if (units.Count > 0) to.Lose("identities: disks have other serial numbers and WWIDs than LIO gave them; names in /dev/disk/by-id and multipath bindings change");
        foreach (var fabric in file["fabric_modules"].Items.Where(f => f["name"].Text == "iscsi" && f["discovery_enable_auth"].Flag))
        {
            if (fabric["discovery_userid"].Text is { } user && fabric["discovery_password"].Text is { } secret) to.AddDiscovery(Conversion.Credential(user, secret));
            if (fabric["discovery_mutual_userid"].Text is not null) to.Lose("discovery: mutual CHAP");
        }
        foreach (var target in file["targets"].Items)
        {
            string name = target["wwn"].Text ?? "(without a name)";
            if (target["fabric"].Text is not "iscsi") to.Lose($"target {name}: fabric {target["fabric"].Text} is not iSCSI");
            else Target(name, target, units, to);
        }
    }

    private static JsonObject? Unit(JsonView store, Conversion to)
    {
        string plugin = store["plugin"].Text ?? "", what = $"storage object {plugin}/{store["name"].Text}";
        var unit = plugin switch
        {
            "fileio" => OfFile(store["dev"].Text, store["size"].Number),
            "block" when store["dev"].Text is { } dev => new JsonObject { ["kind"] = "block", ["device"] = dev },
            "ramdisk" => new JsonObject { ["kind"] = store["nullio"].Flag ? "null" : "memory", ["size"] = store["size"].Text },
            "pscsi" when store["dev"].Text is { } dev && dev.StartsWith("/dev/sg", StringComparison.Ordinal) => new JsonObject { ["kind"] = "pscsi", ["device"] = dev },
            "user" => OfUser(store["config"].Text ?? "", store["size"].Number),
            _ => null,
        };
        if (unit is null)
        {
            to.Lose($"{what} ({store["dev"].Text ?? store["config"].Text}): LunKit has no such backstore, or cannot tell what it is");
            return null;
        }
        if ((string)unit["kind"]! is "pscsi") return unit;
        if (store["attributes"]["block_size"].Number is 4096) unit["block"] = "4096";
        if (store["readonly"].Flag) unit["readonly"] = true;
        // fileio without write_back writes through.
        if (plugin == "fileio" && store["write_back"].IsThere && !store["write_back"].Flag) unit["writecache"] = false;
        foreach (var group in store["alua_tpgs"].Items.Where(g => g["name"].Text is not "default_tg_pt_gp")) to.Lose($"{what}: ALUA group {group["name"].Text}; a LunKit portal group is one");
        return unit;
    }

    private static JsonObject? OfFile(string? path, long? size)
    {
        if (path is null) return null;
        // LIO serves a block device as a file, too.
        if (path.StartsWith("/dev/", StringComparison.Ordinal)) return new() { ["kind"] = "block", ["device"] = path };
        var unit = new JsonObject { ["kind"] = "file", ["path"] = path };
        if (size is { } bytes) unit["size"] = $"{bytes}";
        return unit;
    }

    private static JsonObject? OfUser(string config, long? size)
    {
        string[] parts = config.Split(';')[0].Split('/', 2);
        if (parts.Length < 2) return null;
        // The forms of tcmu-runner's handlers.
        int at = parts[1].IndexOf('@', StringComparison.Ordinal), slash = at < 0 ? -1 : parts[1].IndexOf('/', at);
        return parts[0] switch
        {
            "file" => OfFile(parts[1], size),
            "rbd" => new() { ["kind"] = "rbd", ["image"] = parts[1] },
            "glfs" when slash > 0 => new() { ["kind"] = "gluster", ["location"] = $"{parts[1][(at + 1)..slash]}/{parts[1][..at]}{parts[1][slash..]}" },
            _ => null,
        };
    }

    private static void Target(string name, JsonView target, Dictionary<string, string> units, Conversion to)
    {
        var groups = target["tpgs"].Items.ToList();
        if (groups.Count(g => g["enable"].Flag) > 1) to.Lose($"target {name}: all of its portal groups but the first; a LunKit target has the same LUNs in all groups");
        if (groups.FirstOrDefault(g => g["enable"].Flag) is not { IsMap: true } group)
        {
            to.Lose($"target {name}: none of its portal groups is enabled; it is left out");
            return;
        }
        var luns = new JsonObject();
        foreach (var lun in group["luns"].Items)
        {
            string path = lun["storage_object"].Text ?? "";
            string key = path.StartsWith("/backstores/", StringComparison.Ordinal) ? path["/backstores/".Length..] : path;
            if (lun["index"].Number is { } index && units.TryGetValue(key, out string? unit)) luns[$"{index}"] = unit;
            else to.Lose($"target {name}: LUN {lun["index"].Text} ({path}) has no unit");
        }
        var result = new JsonObject { ["luns"] = luns };
        if (!Access(name, group, result, to) || !to.AddTarget(name, result)) return;
        List<string> addresses = [];
        foreach (var portal in group["portals"].Items)
        {
            string address = portal["ip_address"].Text ?? "0.0.0.0";
            if (address.Contains(':') && !address.StartsWith('[')) address = $"[{address}]";
            addresses.Add($"{address}:{portal["port"].Number ?? 3260}");
            to.AddPortal(addresses[^1], (int)Math.Clamp(group["tag"].Number ?? 1, 1, 65535));
            if (portal["iser"].Flag || portal["offload"].Flag) to.Lose($"target {name}: portal {address} is served by TCP, without iSER or offload");
        }
        to.Reach(name, addresses);
    }

    /// <summary>Who may log in, as before or fewer. False: nobody may, and so the target is left out.</summary>
    private static bool Access(string name, JsonView group, JsonObject result, Conversion to)
    {
        bool demo = group["attributes"]["generate_node_acls"].Flag, chap = group["attributes"]["authentication"].Flag;
        var acls = new JsonObject();
        List<(string User, string Secret)> mutuals = [];
        foreach (var node in group["node_acls"].Items)
        {
            if (node["node_wwn"].Text is not { } initiator) continue;
            var acl = new JsonObject();
            if (chap && !Chap(node, acl, mutuals))
            {
                to.Lose($"target {name}: {initiator} needs CHAP and has no credential: nobody could log in under that name, and it is left out");
                continue;
            }
            if (node["mapped_luns"].IsThere) acl["luns"] = Mapped(name, initiator, node, result, to);
            acls[initiator] = acl;
        }
        if (!chap && group["node_acls"].Items.Any(n => n["chap_userid"].Text is not null)) to.Lose($"target {name}: CHAP credentials, which LIO does not ask for (authentication=0)");
        if (chap && demo)
        {
            if (group["chap_userid"].Text is { } user && group["chap_password"].Text is { } secret) result["chap"] = new JsonArray(Conversion.Credential(user, secret));
            // They could not log in, for want of a credential.
            else demo = false;
        }
        if (mutuals.Count > 0)
        {
            result["mutual-chap"] = Conversion.Credential(mutuals[0].User, mutuals[0].Secret);
            if (mutuals.Distinct().Count() > 1) to.Lose($"target {name}: mutual CHAP credentials of all initiators but the first; a LunKit target has one");
        }
        if (demo && group["attributes"]["demo_mode_write_protect"].Flag)
        {
            to.Lose($"target {name}: initiators without a node ACL could only read (demo_mode_write_protect); they are not admitted");
            demo = false;
        }
        if (acls.Count > 0) result["acls"] = acls;
        if (demo && acls.Count > 0) to.Lose($"target {name}: initiators without a node ACL were admitted (generate_node_acls); they are not any more");
        if (demo || acls.Count > 0) return true;
        to.Lose($"target {name}: it admits nobody (no node ACLs), and is left out: a LunKit target without acls admits everybody");
        return false;
    }

    private static bool Chap(JsonView node, JsonObject acl, List<(string, string)> mutuals)
    {
        if (node["chap_userid"].Text is not { } user || node["chap_password"].Text is not { } secret) return false;
        acl["chap"] = Conversion.Credential(user, secret);
        if (node["chap_mutual_userid"].Text is { } mutual && node["chap_mutual_password"].Text is { } other) mutuals.Add((mutual, other));
        return true;
    }

    private static JsonObject Mapped(string name, string initiator, JsonView node, JsonObject target, Conversion to)
    {
        var mapped = new JsonObject();
        foreach (var lun in node["mapped_luns"].Items)
        {
            if (lun["index"].Number is not { } seen || lun["tpg_lun"].Number is not { } behind) continue;
            if (lun["write_protect"].Flag) to.Lose($"target {name}: LUN {seen} of {initiator} was read-only for it alone: it is left out; serve the disk as another unit with readonly: true");
            else if (!((JsonObject)target["luns"]!).ContainsKey($"{behind}")) to.Lose($"target {name}: LUN {seen} of {initiator}: the target has no LUN {behind} any more");
            else mapped[$"{seen}"] = behind;
        }
        return mapped;
    }
}
