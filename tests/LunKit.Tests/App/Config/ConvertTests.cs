using LunKit.App.Config;
using LunKit.App.Config.Convert;
using LunKit.App.Serve;

namespace LunKit.Tests.App.Config;

/// <summary>Other targets' configurations: what is carried over, what is named as lost, and that what would become more open is left out.</summary>
public sealed class ConvertTests : IDisposable
{
    private const string Lio = """
        {
          "fabric_modules": [{"name": "iscsi", "discovery_enable_auth": true, "discovery_userid": "d", "discovery_password": "secret-of-discovery"}],
          "storage_objects": [
            {"plugin": "fileio", "name": "disk1", "dev": "/srv/disk1.img", "size": 1073741824, "write_back": true, "wwn": "w1", "attributes": {"block_size": 4096},
             "alua_tpgs": [{"name": "default_tg_pt_gp"}, {"name": "standby"}]},
            {"plugin": "fileio", "name": "through", "dev": "/srv/t.img", "size": 1048576, "write_back": false},
            {"plugin": "block", "name": "sdb", "dev": "/dev/sdb", "readonly": true},
            {"plugin": "ramdisk", "name": "ram", "size": 1048576, "nullio": false},
            {"plugin": "pscsi", "name": "tape", "dev": "1:0:0:0"},
            {"plugin": "user", "name": "ceph", "config": "rbd/rbd/img;conf=/x", "size": 1048576},
            {"plugin": "user", "name": "glu", "config": "glfs/gv0@host/d.img", "size": 1048576},
            {"plugin": "user", "name": "q", "config": "qcow//srv/q.qcow2", "size": 1048576}
          ],
          "targets": [
            {"fabric": "iscsi", "wwn": "iqn.2003-01.org.linux-iscsi.host:one", "tpgs": [
              {"tag": 1, "enable": true,
               "attributes": {"authentication": 1, "generate_node_acls": 0},
               "luns": [{"index": 0, "storage_object": "/backstores/fileio/disk1"}, {"index": 1, "storage_object": "/backstores/block/sdb"},
                        {"index": 2, "storage_object": "/backstores/user/ceph"}, {"index": 3, "storage_object": "/backstores/pscsi/tape"}],
               "portals": [{"ip_address": "0.0.0.0", "port": 3260, "iser": false}, {"ip_address": "fd00::1", "port": 3261, "iser": true}],
               "node_acls": [
                 {"node_wwn": "iqn.1993-08.org.debian:01:abc", "chap_userid": "u", "chap_password": "secret-of-abc-1", "chap_mutual_userid": "t", "chap_mutual_password": "secret-of-target",
                  "mapped_luns": [{"index": 5, "tpg_lun": 0, "write_protect": false}, {"index": 6, "tpg_lun": 1, "write_protect": true}]},
                 {"node_wwn": "iqn.1993-08.org.debian:01:def", "mapped_luns": []}]},
              {"tag": 2, "enable": true}]},
            {"fabric": "iscsi", "wwn": "iqn.2003-01.org.linux-iscsi.host:demo", "tpgs": [
              {"tag": 1, "enable": true, "attributes": {"authentication": 0, "generate_node_acls": 1, "demo_mode_write_protect": 0},
               "luns": [{"index": 0, "storage_object": "/backstores/fileio/through"}], "portals": [{"ip_address": "0.0.0.0", "port": 3260}], "node_acls": []}]},
            {"fabric": "iscsi", "wwn": "iqn.2003-01.org.linux-iscsi.host:nobody", "tpgs": [
              {"tag": 1, "enable": true, "attributes": {"generate_node_acls": 0}, "luns": [], "portals": [], "node_acls": []}]},
            {"fabric": "iscsi", "wwn": "iqn.2003-01.org.linux-iscsi.host:locked", "tpgs": [
              {"tag": 1, "enable": true, "attributes": {"authentication": 1, "generate_node_acls": 1, "demo_mode_write_protect": 0}, "luns": [], "portals": [], "node_acls": []}]},
            {"fabric": "loopback", "wwn": "naa.5001", "tpgs": []}
          ]
        }
        """;

    private const string Tgt = """
        # comment
        include /etc/tgt/conf.d/*.conf
        default-driver iscsi
        <target iqn.2008-09.com.example:one>
            backing-store /srv/a.img     # LUN 1
            <backing-store /dev/vg/b>
                lun 7
                scsi_sn SERIAL7
                vendor_id ACME
                write-cache off
            </backing-store>
            direct-store /dev/sdd
            incominguser someuser secret-of-someuser
            outgoinguser targetuser other-secret-of-t
            initiator-name iqn.1993-08.org.debian:01:abc
            initiator-address 192.168.0.0/24
            MaxRecvDataSegmentLength 8192
            readonly 1
        </target>
        <target iqn.2008-09.com.example:two>
            bs-type rbd
            backing-store rbd/img
        </target>
        """;

    private const string Ceph = """
        {
          "disks": {"rbd/disk_1": {"pool": "rbd", "image": "disk_1", "wwn": "w", "controls": {"max_data_area_mb": 64}}, "rbd/disk_2": {"pool": "rbd", "image": "disk_2", "controls": {}}},
          "gateways": {}, "version": 11,
          "discovery_auth": {"username": "disc", "password": "discovery-secret", "password_encryption_enabled": false, "mutual_username": "", "mutual_password": ""},
          "targets": {
            "iqn.2003-01.com.redhat.iscsi-gw:ceph": {
              "acl_enabled": true, "auth": {"username": "", "password": "", "mutual_username": "", "mutual_password": ""},
              "disks": {"rbd/disk_1": {"lun_id": 0}, "rbd/disk_2": {"lun_id": 1}},
              "clients": {
                "iqn.1994-05.com.redhat:rh7": {"auth": {"username": "myuser", "password": "ENCRYPTED", "password_encryption_enabled": true}, "luns": {"rbd/disk_2": {"lun_id": 0}}},
                "iqn.1994-05.com.redhat:rh8": {"auth": {"username": "other", "password": "secret-of-other", "password_encryption_enabled": false}, "luns": {}}},
              "groups": {"g": {"members": ["iqn.1994-05.com.redhat:rh8"], "disks": {"rbd/disk_1": {"lun_id": 3}}}},
              "portals": {"gw1": {"portal_ip_addresses": ["10.0.0.1"]}, "gw2": {"portal_ip_addresses": ["10.0.0.2"]}}},
            "iqn.2003-01.com.redhat.iscsi-gw:empty": {"acl_enabled": true, "disks": {}, "clients": {}, "portals": {}}
          }
        }
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-convert-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static (LunKitConfig? Config, IReadOnlyList<ConfigError> Errors, IReadOnlyList<string> Lost) Convert(string text)
    {
        var (yaml, lost) = ConvertCommand.Convert(text, "the file");
        // Each is at the head of the result, too.
        foreach (string line in lost) Assert.Contains($"#   {line}", yaml, StringComparison.Ordinal);
        var result = ConfigFile.Parse(yaml);
        return (result.Config, result.Errors, lost);
    }

    private static void Lost(IReadOnlyList<string> lost, params string[] parts)
    {
        foreach (string part in parts) Assert.Contains(lost, l => l.Contains(part, StringComparison.Ordinal));
    }

    [Fact]
    public void LioIsCarriedOver()
    {
        var (config, errors, lost) = Convert(Lio);
        // The demo target admits everybody, and listens for other machines: that is for the operator to say.
        Assert.Null(config);
        Assert.Contains("lets anyone", Assert.Single(errors, e => !e.IsWarning).Text, StringComparison.Ordinal);
        config = ConfigFile.Parse(ConvertCommand.Convert(Lio, "x").Text + "allow-anyone: true\n").Checked("x");
        Assert.Equal(["0.0.0.0:3260", "[fd00::1]:3261"], config.Portals.Select(p => p.EndPoint.ToString()));
        Assert.Equal(["ceph", "disk1", "glu", "ram", "sdb", "through"], config.Units.Keys.Order());
        Assert.Equal("block=4096,file:/srv/disk1.img,size=1073741824", string.Join(',', config.Units["disk1"].Spec.Text.Split(',').Order()));
        Assert.Contains("writecache=off", config.Units["through"].Spec.Text, StringComparison.Ordinal);
        Assert.Contains("readonly=on", config.Units["sdb"].Spec.Text, StringComparison.Ordinal);
        Assert.Equal(("rbd/img", "host/gv0/d.img"), (config.Units["ceph"].Spec.Argument, config.Units["glu"].Spec.Argument));
        var one = config.Targets[0];
        Assert.Equal([(0, "disk1"), (1, "sdb"), (2, "ceph")], one.Luns.Select(l => (l.Key, l.Value)).Order());
        var acl = Assert.Single(one.Definition.Acls);
        Assert.Equal(("u", "secret-of-abc-1"), (acl.Chap!.Name, acl.Chap.Secret));
        Assert.Equal([KeyValuePair.Create(0, 5)], acl.MappedLuns!);
        Assert.Equal("secret-of-target", one.Definition.MutualChap!.Secret);
        Assert.Equal("d", Assert.Single(config.DiscoveryChap).Name);
        Assert.Equal(2, config.Targets.Count);
        Lost(lost, "pscsi/tape", "user/q", "ALUA group standby", "LUN 6 of iqn.1993-08.org.debian:01:abc was read-only", "01:def needs CHAP and has no credential", "all of its portal groups but the first",
            "host:nobody: it admits nobody", "host:locked: it admits nobody", "fabric loopback", "LUN 3 (/backstores/pscsi/tape) has no unit", "without iSER", "identities", "host:demo: it was reached on 0.0.0.0:3260 only");
    }

    [Fact]
    public void TgtIsCarriedOver()
    {
        var (config, errors, lost) = Convert(Tgt);
        Assert.Null(config);
        Assert.Contains("lets anyone", Assert.Single(errors, e => !e.IsWarning).Text, StringComparison.Ordinal);
        config = ConfigFile.Parse(ConvertCommand.Convert(Tgt, "x").Text + "allow-anyone: true\n").Checked("x");
        var one = config.Targets[0];
        Assert.Equal([(1, "a"), (2, "sdd"), (7, "b")], one.Luns.Select(l => (l.Key, l.Value)).Order());
        Assert.Equal("block:/dev/vg/b", config.Units["b"].Spec.Text.Split(',')[0]);
        Assert.Equal([("readonly", "on"), ("serial", "SERIAL7"), ("writecache", "off")], config.Units["b"].Spec.Options.Order());
        Assert.Equal(("someuser", "other-secret-of-t"), (Assert.Single(one.Definition.Chap).Name, one.Definition.MutualChap!.Secret));
        Assert.Equal("iqn.1993-08.org.debian:01:abc", Assert.Single(one.Definition.Acls).InitiatorName);
        Assert.Equal("rbd/img", config.Units["img"].Spec.Argument);
        Lost(lost, "include /etc/tgt/conf.d/*.conf", "maxrecvdatasegmentlength 8192", "vendor_id ACME", "initiator-address", "direct-store shows", "identities");
    }

    [Fact]
    public void CephIscsiIsCarriedOver()
    {
        var (config, errors, lost) = Convert(Ceph);
        Assert.Null(config);
        Assert.Contains("/etc/lunkit/myuser.secret", Assert.Single(errors, e => !e.IsWarning).Text, StringComparison.Ordinal);
        string secret = Path.Combine(_folder, "s");
        File.WriteAllText(secret, "secret-of-myuser\n");
        config = ConfigFile.Parse(ConvertCommand.Convert(Ceph, "x").Text.Replace("/etc/lunkit/myuser.secret", secret, StringComparison.Ordinal)).Checked("x");
        var target = Assert.Single(config.Targets);
        Assert.Equal([(0, "disk_1"), (1, "disk_2")], target.Luns.Select(l => (l.Key, l.Value)).Order());
        Assert.Equal("rbd/disk_1", config.Units["disk_1"].Spec.Argument);
        Assert.Equal([KeyValuePair.Create(1, 0)], target.Definition.Acls[0].MappedLuns!);
        Assert.Equal([KeyValuePair.Create(0, 3)], target.Definition.Acls[1].MappedLuns!);
        Assert.Equal("disc", Assert.Single(config.DiscoveryChap).Name);
        Lost(lost, "the password of myuser is encrypted", "controls max_data_area_mb", "gw1, gw2", "iscsi-gw:empty: it admits nobody", "know nothing of each other's reservations");
    }

    [Theory]
    [InlineData("", "neither LIO's")]
    [InlineData("{}", "neither LIO's")]
    [InlineData("{\"storage_objects\": [", "is not JSON")]
    [InlineData("[target]", "neither LIO's")]
    public void OthersAreRefused(string text, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => ConvertCommand.Convert(text, "f")).Message, StringComparison.Ordinal);

    /// <summary>Whatever is cut off, or of another type: a configuration or a clear error, and never a line that ends the comment it stands in.</summary>
    [Fact]
    public void DamagedOnesAreNoFault()
    {
        var random = new Random(1);
        foreach (string text in (string[])[Lio, Tgt, Ceph])
        {
            for (int i = 0; i < 2000; i++)
            {
                var damaged = new System.Text.StringBuilder(text);
                for (int edits = random.Next(1, 4); edits > 0; edits--)
                {
                    int at = random.Next(damaged.Length);
                    switch (random.Next(3))
                    {
                        case 0: damaged[at] = "\"{}[]:,0a\n#<>\\ "[random.Next(15)]; break;
                        case 1: damaged.Remove(at, Math.Min(random.Next(1, 40), damaged.Length - at)); break;
                        default: damaged.Insert(at, text.AsSpan(random.Next(text.Length - 20), 20)); break;
                    }
                }
                try
                {
                    var (yaml, _) = ConvertCommand.Convert(damaged.ToString(), "f");
                    Assert.DoesNotContain(ConfigFile.Parse(yaml).Errors, e => e.Text.Contains("not YAML", StringComparison.Ordinal));
                }
                catch (UserException)
                {
                    // It says why.
                }
            }
        }
    }

    [Fact]
    public void TheResultIsItsOwnersAndNothingIsOverwritten()
    {
        string from = Path.Combine(_folder, "targets.conf"), into = Path.Combine(_folder, "lunkit.yaml");
        File.WriteAllText(from, Tgt);
        StringWriter output = new(), errors = new();
        Assert.Equal(1, ConvertCommand.Run(output, errors, from, into));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(into));
        Assert.DoesNotContain("secret-of", errors.ToString(), StringComparison.Ordinal);
        Assert.Contains("not carried over: include", errors.ToString(), StringComparison.Ordinal);
        Assert.Contains("exist", Assert.Throws<UserException>(() => ConvertCommand.Run(output, errors, from, into)).Message, StringComparison.Ordinal);
    }
}
