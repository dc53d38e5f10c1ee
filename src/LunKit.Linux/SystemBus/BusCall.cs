using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Text;

namespace LunKit.Linux.SystemBus;

/// <summary>A method call to this process: answer it once, by <see cref="Reply"/> or <see cref="Refuse"/>, then dispose it.</summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class BusCall : IDisposable
{
    private readonly nint _bus;
    private nint _message;

    internal BusCall(nint bus, nint message)
    {
        _bus = bus;
        _message = message;
        Path = Text(SdBus.sd_bus_message_get_path(message));
        Interface = Text(SdBus.sd_bus_message_get_interface(message));
        Member = Text(SdBus.sd_bus_message_get_member(message));
    }

    /// <summary>The object that is called.</summary>
    public string Path { get; }

    /// <summary>The interface; empty when the caller names none.</summary>
    public string Interface { get; }

    /// <summary>The method.</summary>
    public string Member { get; }

    /// <summary>The next argument, a string; null when there is none or it is something else.</summary>
    public string? ReadString() => SdBus.sd_bus_message_read_basic(_message, (byte)'s', out nint value) > 0 ? Text(value) : null;

    // SAFETY (of the callers): the library gives null-terminated strings that live as long as the message.
    private static string Text(nint value) => Marshal.PtrToStringUTF8(value) ?? "";

    /// <summary>Answers with what <paramref name="write"/> puts into the reply.</summary>
    public void Reply(Action<BusWriter> write)
    {
        Check(SdBus.sd_bus_message_new_method_return(_message, out nint reply));
        try
        {
            write(new BusWriter(reply));
            Send(reply);
        }
        finally
        {
            SdBus.sd_bus_message_unref(reply);
        }
    }

    /// <summary>Answers with an error.</summary>
    public void Refuse(string name, string message)
    {
        // SAFETY: both strings are null-terminated and pinned while the library copies them.
        fixed (byte* n = Encoding.UTF8.GetBytes(name + '\0'), m = Encoding.UTF8.GetBytes(message + '\0'))
        {
            var error = new SdBus.Error { Name = n, Message = m };
            Check(SdBus.sd_bus_message_new_method_error(_message, out nint reply, &error));
            Send(reply);
            SdBus.sd_bus_message_unref(reply);
        }
    }

    private void Send(nint reply)
    {
        Check(SdBus.sd_bus_send(_bus, reply, null));
        Check(SdBus.sd_bus_flush(_bus));
    }

    internal static void Check(int result)
    {
        if (result < 0) throw new LinuxException("sd-bus", Errno.Of(result));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_message != 0) SdBus.sd_bus_message_unref(_message);
        _message = 0;
    }
}
