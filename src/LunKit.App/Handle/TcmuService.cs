using LunKit.App.Handle.Bus;
using LunKit.App.Serve;
using Microsoft.Extensions.Logging;
using Tmds.DBus.Protocol;

namespace LunKit.App.Handle;

/// <summary>
/// The objects on the system bus by which targetcli finds handlers and checks configurations: <c>org.kernel.TCMUService1</c>, one object
/// for each subtype. Nothing else needs it.
/// </summary>
internal sealed class TcmuService : IDisposable
{
    private const string Name = "org.kernel.TCMUService1", Root = "/org/kernel/TCMUService1";
    private const string Properties = "org.freedesktop.DBus.Properties", ObjectManager = "org.freedesktop.DBus.ObjectManager", Introspectable = "org.freedesktop.DBus.Introspectable";
    private const string UnknownMethod = "org.freedesktop.DBus.Error.UnknownMethod", UnknownObject = "org.freedesktop.DBus.Error.UnknownObject", UnknownProperty = "org.freedesktop.DBus.Error.UnknownProperty";
    private const string InvalidArguments = "org.freedesktop.DBus.Error.InvalidArgs";

    private static readonly TimeSpan s_openLimit = TimeSpan.FromSeconds(25);

    private readonly IReadOnlyDictionary<string, Subtype> _subtypes;
    private readonly ILogger _log;
    private BusConnection? _bus;

    private TcmuService(IReadOnlyDictionary<string, Subtype> subtypes, ILogger log)
    {
        // The bus has no other letters in the names of objects.
        _subtypes = subtypes.Where(s => s.Key.All(c => char.IsAsciiLetterOrDigit(c) || c == '_')).ToDictionary();
        _log = log;
    }

    /// <summary>Appears on the bus; null, with a line in the log, where that is not possible: all else works without.</summary>
    /// <param name="subtypes">What is handled.</param>
    /// <param name="log">The log.</param>
    /// <param name="stop">Ends when the process stops; the bus is waited for no longer.</param>
    /// <param name="address">The bus; null for the machine's.</param>
    /// <param name="limit">How long to wait for the bus; null for 25 s, as the reference library of D-Bus waits.</param>
    public static async Task<TcmuService?> TryStartAsync(
        IReadOnlyDictionary<string, Subtype> subtypes, ILogger log, Task stop, string? address = null, TimeSpan? limit = null)
    {
        var service = new TcmuService(subtypes, log);
        try
        {
            service._bus = await BusConnection.OpenAsync(address ?? BusAddress.System, Name, service.Answer, stop, limit ?? s_openLimit).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            ServeLog.NoBus(log, e.Message);
            return null;
        }
        _ = service.WatchAsync(service._bus);
        return service;
    }

    /// <summary>The connection is not made again: who starts the bus anew starts the handler anew to be seen.</summary>
    private async Task WatchAsync(BusConnection bus)
    {
        if (await bus.LostAsync().ConfigureAwait(false) is { } reason) ServeLog.BusLost(_log, reason);
    }

    private void Answer(MethodContext call)
    {
        string path = call.Request.PathAsString ?? "", @interface = call.Request.InterfaceAsString ?? "", member = call.Request.MemberAsString ?? "";
        if (path == Root) AnswerRoot(call, @interface, member);
        else if (path.StartsWith(Root + "/", StringComparison.Ordinal) && _subtypes.TryGetValue(path[(Root.Length + 1)..], out var subtype)) AnswerSubtype(call, @interface, member, subtype);
        else call.ReplyError(UnknownObject, $"there is no object {path}");
    }

    private void AnswerRoot(MethodContext call, string @interface, string member)
    {
        switch (@interface, member)
        {
            case (ObjectManager or "", "GetManagedObjects"):
                ReplyObjects(call);
                break;
            case (Introspectable or "", "Introspect"):
                string nodes = string.Concat(_subtypes.Keys.Select(n => $"<node name=\"{n}\"/>"));
                ReplyString(call, $"<node><interface name=\"{ObjectManager}\"><method name=\"GetManagedObjects\"><arg type=\"a{{oa{{sa{{sv}}}}}}\" direction=\"out\"/></method></interface>{nodes}</node>");
                break;
            default:
                call.ReplyError(UnknownMethod, $"{Root} has no method {@interface}.{member}");
                break;
        }
    }

    private void ReplyObjects(MethodContext call)
    {
        var writer = call.CreateReplyWriter("a{oa{sa{sv}}}");
        var objects = writer.WriteDictionaryStart();
        foreach (var subtype in _subtypes.Values)
        {
            writer.WriteDictionaryEntryStart();
            writer.WriteObjectPath($"{Root}/{subtype.Name}");
            var interfaces = writer.WriteDictionaryStart();
            writer.WriteDictionaryEntryStart();
            writer.WriteText(Name);
            WriteProperties(ref writer, subtype);
            writer.WriteDictionaryEnd(interfaces);
        }
        writer.WriteDictionaryEnd(objects);
        call.Reply(writer.CreateMessage());
    }

    private static void AnswerSubtype(MethodContext call, string @interface, string member, Subtype subtype)
    {
        switch (@interface, member)
        {
            case (Name or "", "CheckConfig"):
                if (Arguments(call, 1) is [var config]) Check(call, subtype, config);
                else call.ReplyError(InvalidArguments, "CheckConfig takes a string");
                break;
            case (Properties or "", "GetAll"):
                ReplyProperties(call, subtype);
                break;
            case (Properties or "", "Get"):
                if (Arguments(call, 2) is [_, "ConfigDesc"]) ReplyDescription(call, subtype);
                else call.ReplyError(UnknownProperty, "there is the property ConfigDesc only");
                break;
            case (Introspectable or "", "Introspect"):
                ReplyString(call, $"<node><interface name=\"{Name}\"><method name=\"CheckConfig\"><arg type=\"s\" direction=\"in\"/><arg type=\"b\" direction=\"out\"/><arg type=\"s\" direction=\"out\"/></method><property name=\"ConfigDesc\" type=\"s\" access=\"read\"/></interface></node>");
                break;
            default:
                call.ReplyError(UnknownMethod, $"{Root}/{subtype.Name} has no method {@interface}.{member}");
                break;
        }
    }

    /// <summary>The first arguments of a call; null when there are fewer, or they are no strings.</summary>
    private static string[]? Arguments(MethodContext call, int count)
    {
        if (!call.Request.Signature.StartsWith("ss"u8[..count])) return null;
        var reader = call.Request.GetBodyReader();
        var arguments = new string[count];
        for (int i = 0; i < count; i++) arguments[i] = reader.ReadString();
        return arguments;
    }

    /// <summary>The configuration comes with its subtype before it.</summary>
    private static void Check(MethodContext call, Subtype subtype, string config)
    {
        string prefix = subtype.Name + "/";
        string? fault = config.StartsWith(prefix, StringComparison.Ordinal) ? subtype.WhyNot(config[prefix.Length..]) : $"'{config}' does not begin with {prefix}";
        var writer = call.CreateReplyWriter("bs");
        writer.WriteBool(fault is null);
        writer.WriteText(fault ?? "");
        call.Reply(writer.CreateMessage());
    }

    private static void WriteProperties(ref MessageWriter writer, Subtype subtype)
    {
        var properties = writer.WriteDictionaryStart();
        writer.WriteDictionaryEntryStart();
        writer.WriteText("ConfigDesc");
        writer.WriteVariantText(subtype.Description);
        writer.WriteDictionaryEnd(properties);
    }

    private static void ReplyProperties(MethodContext call, Subtype subtype)
    {
        var writer = call.CreateReplyWriter("a{sv}");
        WriteProperties(ref writer, subtype);
        call.Reply(writer.CreateMessage());
    }

    private static void ReplyDescription(MethodContext call, Subtype subtype)
    {
        var writer = call.CreateReplyWriter("v");
        writer.WriteVariantText(subtype.Description);
        call.Reply(writer.CreateMessage());
    }

    private static void ReplyString(MethodContext call, string text)
    {
        var writer = call.CreateReplyWriter("s");
        writer.WriteText(text);
        call.Reply(writer.CreateMessage());
    }

    public void Dispose() => _bus?.Dispose();
}
