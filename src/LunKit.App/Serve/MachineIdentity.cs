namespace LunKit.App.Serve;

/// <summary>Makes names that are unique on a machine unique among machines: two with the same configuration serve different disks.</summary>
internal static class MachineIdentity
{
    // machine-id(5); containers may have none.
    private static readonly Lazy<string> s_machine = new(() => Read("/etc/machine-id") ?? Read("/var/lib/dbus/machine-id") ?? "");

    /// <summary>A text for <see cref="LogicalUnits.UnitIdentity.IdOf"/>, with what tells this machine from others in front.</summary>
    public static string Of(string name) => s_machine.Value.Length == 0 ? name : $"{s_machine.Value} {name}";

    private static string? Read(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim() is { Length: 32 } id ? id : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
