using System.Text;
using LunKit.Linux;

namespace LunKit.Tcmu.Devices;

/// <summary>The messages of linux/target_core_user.h and of generic netlink's controller, to bytes and back.</summary>
internal static class TcmuMessages
{
    public const string Family = "TCM-USER", Group = "config";
    public const int MaxLength = 1024;

    private const ushort ControllerId = 16, Request = 1, Acknowledge = 4;
    private const byte ControllerGetFamily = 3, ControllerVersion = 1, Version = 2, SetFeaturesCommand = 7;

    // Attributes of the controller.
    private const ushort FamilyId = 1, FamilyName = 2, MulticastGroups = 7, GroupName = 1, GroupId = 2;

    // Attributes of TCM-USER.
    private const ushort Device = 1, MinorNumber = 2, DeviceConfig = 4, DeviceSize = 5, WriteCacheState = 6, CommandStatus = 7, DeviceNumber = 8, ReplySupported = 9;

    /// <summary>Asks the controller for the ids of the family and its group.</summary>
    public static byte[] GetFamily(uint sequence)
    {
        var writer = new NetlinkWriter(stackalloc byte[64], ControllerId, Request, sequence, ControllerGetFamily, ControllerVersion);
        writer.Add(FamilyName, Encoding.ASCII.GetBytes(Family + '\0'));
        return writer.Finish().ToArray();
    }

    /// <summary>The ids of the family and of its group, from the controller's answer; null when it is something else.</summary>
    public static (ushort Family, uint Group)? ParseFamily(NetlinkMessage message)
    {
        if (message.Type != ControllerId) return null;
        ushort family = 0;
        uint group = 0;
        for (var attribute = message.Payload; attribute.Next();)
        {
            if (attribute.Type == FamilyId) family = attribute.UInt16;
            if (attribute.Type != MulticastGroups) continue;
            for (var entry = attribute.Nested; entry.Next();)
            {
                string name = "";
                uint id = 0;
                for (var field = entry.Nested; field.Next();)
                {
                    if (field.Type == GroupName) name = field.Text;
                    if (field.Type == GroupId) id = field.UInt32;
                }
                if (name == Group) group = id;
            }
        }
        return family == 0 || group == 0 ? null : (family, group);
    }

    /// <summary>Says whether the kernel is to wait for replies. The switch is the module's and outlives the process.</summary>
    public static byte[] SetFeatures(ushort family, uint sequence, bool replies)
    {
        var writer = new NetlinkWriter(stackalloc byte[64], family, Request | Acknowledge, sequence, SetFeaturesCommand, Version);
        writer.Add(ReplySupported, [replies ? (byte)1 : (byte)0]);
        return writer.Finish().ToArray();
    }

    /// <summary>The reply to an event; an error is what the writer of the attribute in configfs gets.</summary>
    public static byte[] Done(ushort family, uint sequence, TcmuEvent of, Errno error)
    {
        return BeginDone(stackalloc byte[64], family, sequence, of, error).Finish().ToArray();
    }

    /// <summary>The same, to be continued.</summary>
    public static NetlinkWriter BeginDone(Span<byte> buffer, ushort family, uint sequence, TcmuEvent of, Errno error)
    {
        // The DONE commands follow the events' at a distance of three.
        var writer = new NetlinkWriter(buffer, family, Request, sequence, (byte)((byte)of.Kind + 3), Version);
        writer.Add(CommandStatus, (uint)error.Result);
        writer.Add(DeviceNumber, of.DeviceId);
        return writer;
    }

    /// <summary>An event, as the kernel sends it and LunKit's target too.</summary>
    public static byte[] Event(ushort family, TcmuEvent e)
    {
        var writer = new NetlinkWriter(stackalloc byte[MaxLength], family, 0, 0, (byte)e.Kind, Version);
        writer.Add(Device, Encoding.UTF8.GetBytes(e.DeviceName + '\0'));
        writer.Add(MinorNumber, e.Minor);
        writer.Add(DeviceNumber, e.DeviceId);
        if (e.Config is { } config) writer.Add(DeviceConfig, Encoding.UTF8.GetBytes(config + '\0'));
        if (e.SizeBytes is { } size) writer.Add(DeviceSize, size);
        if (e.WriteCache is { } cache) writer.Add(WriteCacheState, [cache ? (byte)1 : (byte)0]);
        return writer.Finish().ToArray();
    }

    /// <summary>What a reply is to, which device, and its error; null when the message is no reply.</summary>
    public static (TcmuEventKind Kind, uint DeviceId, Errno Error)? ParseDone(NetlinkMessage message, ushort family)
    {
        if (message.Type != family || message.Command is < 4 or > 6) return null;
        uint device = 0;
        var error = Errno.None;
        for (var attribute = message.Payload; attribute.Next();)
        {
            if (attribute.Type == DeviceNumber) device = attribute.UInt32;
            if (attribute.Type == CommandStatus) error = ErrorOf(attribute.UInt32);
        }
        return ((TcmuEventKind)(message.Command - 3), device, error);
    }

    /// <summary>What a status says: 0 or a negative errno; all else is no good sign.</summary>
    public static Errno ErrorOf(uint status) => (int)status > 0 ? Errno.EIO : Errno.Of((int)status);

    /// <summary>An event, or null when the message is none.</summary>
    public static TcmuEvent? ParseEvent(NetlinkMessage message, ushort family)
    {
        if (message.Type != family || message.Command is < 1 or > 3) return null;
        var found = new TcmuEvent((TcmuEventKind)message.Command, "", 0, 0);
        for (var attribute = message.Payload; attribute.Next();)
        {
            found = attribute.Type switch
            {
                Device => found with { DeviceName = attribute.Text },
                MinorNumber => found with { Minor = attribute.UInt32 },
                DeviceNumber => found with { DeviceId = attribute.UInt32 },
                DeviceConfig => found with { Config = attribute.Text },
                DeviceSize => found with { SizeBytes = attribute.UInt64 },
                WriteCacheState => found with { WriteCache = attribute.Byte != 0 },
                _ => found,
            };
        }
        return found.DeviceName.Length == 0 ? null : found;
    }
}
