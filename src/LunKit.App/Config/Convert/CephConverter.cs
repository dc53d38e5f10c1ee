using System.Text.Json.Nodes;

namespace LunKit.App.Config.Convert;

/// <summary>
/// The configuration of ceph-iscsi: the object <c>gateway.conf</c> of its pool (<c>rados -p rbd get gateway.conf FILE</c>), in the form of versions with several
/// targets.
/// </summary>
internal static class CephConverter
{
    public static void Convert(JsonView file, Conversion to)
    {
        Dictionary<string, string> units = new(StringComparer.Ordinal);
        foreach (var (name, disk) in file["disks"].Entries)
        {
            if (disk["pool"].Text is not { } pool || disk["image"].Text is not { } image)
            {
                to.Lose($"disk {name}: it names no pool and image");
                continue;
            }
            units[name] = to.AddUnit(image, new() { ["kind"] = "rbd", ["image"] = $"{pool}/{image}" });
            if (disk["controls"].Entries.Any()) to.Lose($"disk {name}: controls {string.Join(", ", disk["controls"].Entries.Select(c => c.Key))}");
        }
        if (units.Count > 0)
        {
            to.Lose("identities: disks have other serial numbers and WWIDs than ceph-iscsi gave them; names in /dev/disk/by-id and multipath bindings change");
            to.Lose("gateways: this is the configuration of one; two LunKit processes that serve one image know nothing of each other's reservations");
        }
        foreach (var (name, target) in file["targets"].Entries) Target(name, target, units, to);
        var discovery = file["discovery_auth"];
        if (Credential("discovery", discovery, "", to) is { } credential) to.AddDiscovery(credential);
        if (discovery["mutual_username"].Text is not null) to.Lose("discovery: mutual CHAP");
    }

    private static void Target(string name, JsonView target, Dictionary<string, string> units, Conversion to)
    {
        var luns = new JsonObject();
        Dictionary<string, long> numbers = new(StringComparer.Ordinal);
        foreach (var (disk, place) in target["disks"].Entries)
        {
            if (place["lun_id"].Number is not { } lun || !units.TryGetValue(disk, out string? unit)) to.Lose($"target {name}: disk {disk} has no unit, or no lun_id");
            else
            {
                luns[$"{lun}"] = unit;
                numbers[disk] = lun;
            }
        }
        if (target["disks"].Items.Any()) to.Lose($"target {name}: its disks are a list without LUNs, as old versions of ceph-iscsi wrote them; let a newer one write the object first");
        var result = new JsonObject { ["luns"] = luns };
        if (Credential($"target {name}", target["auth"], "", to) is { } chap) result["chap"] = new JsonArray(chap);
        List<JsonObject> mutuals = [.. new[] { target["auth"] }.Concat(target["clients"].Entries.Select(c => c.Value["auth"])).Select(a => Credential($"target {name}, mutual", a, "mutual_", to)).OfType<JsonObject>()];
        if (mutuals.Count > 0) result["mutual-chap"] = mutuals[0].DeepClone();
        if (mutuals.Select(m => m.ToJsonString()).Distinct().Count() > 1) to.Lose($"target {name}: mutual CHAP credentials of all initiators but the first; a LunKit target has one");
        // Older objects do not say it, and mean it.
        if (!target["acl_enabled"].IsThere || target["acl_enabled"].Flag)
        {
            if (!target["clients"].Entries.Any())
            {
                to.Lose($"target {name}: it admits nobody (no clients), and is left out: a LunKit target without acls admits everybody");
                return;
            }
            result["acls"] = Acls(name, target, numbers, to);
        }
        if (to.AddTarget(name, result) && target["portals"].Entries.Any())
        {
            to.AddPortal(":3260");
            to.Lose($"portals: LunKit listens on every address of the machine; ceph-iscsi's gateways were {string.Join(", ", target["portals"].Entries.Select(p => p.Key))}");
        }
    }

    private static JsonObject Acls(string name, JsonView target, Dictionary<string, long> numbers, Conversion to)
    {
        var acls = new JsonObject();
        foreach (var (initiator, client) in target["clients"].Entries)
        {
            var acl = new JsonObject();
            if (Credential($"target {name}, {initiator}", client["auth"], "", to) is { } chap) acl["chap"] = chap;
            // Of its own, and of the group that it is in.
            var disks = client["luns"].Entries.Concat(target["groups"].Entries.Where(g => g.Value["members"].Items.Any(m => m.Text == initiator)).SelectMany(g => g.Value["disks"].Entries));
            var luns = new JsonObject();
            foreach (var (disk, place) in disks)
            {
                if (place["lun_id"].Number is not { } seen || !numbers.TryGetValue(disk, out long lun)) to.Lose($"target {name}, {initiator}: disk {disk} has no LUN");
                else luns[$"{seen}"] = lun;
            }
            acl["luns"] = luns;
            acls[initiator] = acl;
        }
        return acls;
    }

    private static JsonObject? Credential(string whose, JsonView auth, string prefix, Conversion to)
    {
        if (auth[$"{prefix}username"].Text is not { } user) return null;
        if (!auth[$"{prefix}password_encryption_enabled"].Flag && auth[$"{prefix}password"].Text is { } secret) return Conversion.Credential(user, secret);
        string path = $"/etc/lunkit/{string.Concat(user.Where(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-'))}.secret";
        to.Lose($"{whose}: the password of {user} is encrypted; write it into {path}");
        return new() { ["user"] = user, ["secret-file"] = path };
    }
}
