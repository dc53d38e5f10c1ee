using LunKit.App.Serve;
using LunKit.Linux;
using LunKit.Linux.SystemBus;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Handle;

/// <summary>
/// The objects on the system bus by which targetcli finds handlers and checks configurations: <c>org.kernel.TCMUService1</c>, one object
/// for each subtype. Nothing else needs it. Runs on a thread of its own.
/// </summary>
internal sealed class TcmuService : IDisposable
{
    private const string Name = "org.kernel.TCMUService1", Root = "/org/kernel/TCMUService1";
    private const string Properties = "org.freedesktop.DBus.Properties", ObjectManager = "org.freedesktop.DBus.ObjectManager", Introspectable = "org.freedesktop.DBus.Introspectable";
    private const string UnknownMethod = "org.freedesktop.DBus.Error.UnknownMethod", UnknownObject = "org.freedesktop.DBus.Error.UnknownObject", UnknownProperty = "org.freedesktop.DBus.Error.UnknownProperty";
    private const string InvalidArguments = "org.freedesktop.DBus.Error.InvalidArgs";

    private readonly BusConnection _bus;
    private readonly IReadOnlyDictionary<string, Subtype> _subtypes;
    private readonly EventFd _stop = new();
    private readonly ILogger _log;
    private readonly Thread _thread;

    private TcmuService(BusConnection bus, IReadOnlyDictionary<string, Subtype> subtypes, ILogger log)
    {
        _bus = bus;
        // The bus has no other letters in the names of objects.
        _subtypes = subtypes.Where(s => s.Key.All(c => char.IsAsciiLetterOrDigit(c) || c == '_')).ToDictionary();
        _log = log;
        _thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-dbus" };
        _thread.Start();
    }

    /// <summary>Appears on the bus; null, with a line in the log, where that cannot be: all else works without.</summary>
    public static TcmuService? TryStart(IReadOnlyDictionary<string, Subtype> subtypes, ILogger log)
    {
        if (BusConnection.TryOpen(Name, out string reason) is { } bus) return new TcmuService(bus, subtypes, log);
        ServeLog.NoBus(log, reason);
        return null;
    }

    private void Run()
    {
        try
        {
            while (_bus.Receive(_stop) is { } call)
            {
                using (call) Answer(call);
            }
        }
        catch (Exception e)
        {
            ServeLog.BusLost(_log, e.Message);
        }
    }

    private void Answer(BusCall call)
    {
        if (call.Path == Root) AnswerRoot(call);
        else if (call.Path.StartsWith(Root + "/", StringComparison.Ordinal) && _subtypes.TryGetValue(call.Path[(Root.Length + 1)..], out var subtype)) AnswerSubtype(call, subtype);
        else call.Refuse(UnknownObject, $"there is no object {call.Path}");
    }

    private void AnswerRoot(BusCall call)
    {
        switch (call.Interface, call.Member)
        {
            case (ObjectManager or "", "GetManagedObjects"):
                call.Reply(w => w.Array("{oa{sa{sv}}}", objects =>
                {
                    foreach (var subtype in _subtypes.Values)
                        objects.Entry("oa{sa{sv}}", o =>
                        {
                            o.Path($"{Root}/{subtype.Name}");
                            o.Array("{sa{sv}}", interfaces => interfaces.Entry("sa{sv}", i =>
                            {
                                i.String(Name);
                                WriteProperties(i, subtype);
                            }));
                        });
                }));
                break;
            case (Introspectable or "", "Introspect"):
                string nodes = string.Concat(_subtypes.Keys.Select(n => $"<node name=\"{n}\"/>"));
                call.Reply(w => w.String($"<node><interface name=\"{ObjectManager}\"><method name=\"GetManagedObjects\"><arg type=\"a{{oa{{sa{{sv}}}}}}\" direction=\"out\"/></method></interface>{nodes}</node>"));
                break;
            default:
                call.Refuse(UnknownMethod, $"{call.Path} has no method {call.Interface}.{call.Member}");
                break;
        }
    }

    private static void AnswerSubtype(BusCall call, Subtype subtype)
    {
        switch (call.Interface, call.Member)
        {
            case (Name or "", "CheckConfig"):
                if (call.ReadString() is { } config) Check(call, subtype, config);
                else call.Refuse(InvalidArguments, "CheckConfig takes a string");
                break;
            case (Properties or "", "GetAll"):
                call.Reply(w => WriteProperties(w, subtype));
                break;
            case (Properties or "", "Get"):
                _ = call.ReadString();
                if (call.ReadString() == "ConfigDesc") call.Reply(w => w.Variant(subtype.Description));
                else call.Refuse(UnknownProperty, "there is the property ConfigDesc only");
                break;
            case (Introspectable or "", "Introspect"):
                call.Reply(w => w.String($"<node><interface name=\"{Name}\"><method name=\"CheckConfig\"><arg type=\"s\" direction=\"in\"/><arg type=\"b\" direction=\"out\"/><arg type=\"s\" direction=\"out\"/></method><property name=\"ConfigDesc\" type=\"s\" access=\"read\"/></interface></node>"));
                break;
            default:
                call.Refuse(UnknownMethod, $"{call.Path} has no method {call.Interface}.{call.Member}");
                break;
        }
    }

    /// <summary>The configuration comes with its subtype before it.</summary>
    private static void Check(BusCall call, Subtype subtype, string config)
    {
        string prefix = subtype.Name + "/";
        string? fault = config.StartsWith(prefix, StringComparison.Ordinal) ? subtype.WhyNot(config[prefix.Length..]) : $"'{config}' does not begin with {prefix}";
        call.Reply(w =>
        {
            w.Boolean(fault is null);
            w.String(fault ?? "");
        });
    }

    private static void WriteProperties(BusWriter w, Subtype subtype) => w.Array("{sv}", p => p.Entry("sv", e =>
    {
        e.String("ConfigDesc");
        e.Variant(subtype.Description);
    }));

    public void Dispose()
    {
        _stop.Signal();
        _thread.Join();
        _bus.Dispose();
        _stop.Dispose();
    }
}
