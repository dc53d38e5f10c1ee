using System.Runtime.Versioning;

namespace LunKit.Linux.SystemBus;

/// <summary>Writes the values of a reply, in D-Bus's types. Containers nest as the calls do.</summary>
[SupportedOSPlatform("linux")]
public readonly unsafe struct BusWriter
{
    private readonly nint _message;

    internal BusWriter(nint message) => _message = message;

    /// <summary>A string (s).</summary>
    public void String(string value) => BusCall.Check(SdBus.sd_bus_message_append_basic(_message, (byte)'s', value));

    /// <summary>An object's path (o).</summary>
    public void Path(string value) => BusCall.Check(SdBus.sd_bus_message_append_basic(_message, (byte)'o', value));

    /// <summary>A boolean (b).</summary>
    public void Boolean(bool value)
    {
        int number = value ? 1 : 0;
        // SAFETY: a boolean is read as an int, from a local.
        BusCall.Check(SdBus.sd_bus_message_append_basic(_message, (byte)'b', &number));
    }

    /// <summary>A variant (v) that is a string.</summary>
    public void Variant(string value) => Container('v', "s", w => w.String(value));

    /// <summary>An array (a) of entries of the type <paramref name="contents"/>.</summary>
    public void Array(string contents, Action<BusWriter> write) => Container('a', contents, write);

    /// <summary>An entry (e) of a dictionary.</summary>
    public void Entry(string contents, Action<BusWriter> write) => Container('e', contents, write);

    private void Container(char type, string contents, Action<BusWriter> write)
    {
        BusCall.Check(SdBus.sd_bus_message_open_container(_message, (byte)type, contents));
        write(this);
        BusCall.Check(SdBus.sd_bus_message_close_container(_message));
    }
}
