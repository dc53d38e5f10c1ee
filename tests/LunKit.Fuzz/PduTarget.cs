using System.Net;
using System.Net.Sockets;
using LunKit.Backstores;
using LunKit.Iscsi;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.Fuzz;

/// <summary>Any bytes in the full feature phase of a real session; afterwards a good session is served as before.</summary>
internal sealed class PduTarget : FuzzTarget, ILogger
{
    private readonly IscsiServer _server;
    private IscsiInitiator _good;
    private volatile string? _fault;
    private int _resetsInFlight;

    public PduTarget() : base("pdu")
    {
        var unit = new BlockUnit(new MemoryBackstore(1 << 20), "fuzz", new VolatileUnitState(UnitIdentity.IdOf("fuzz")), null, this);
        _server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, 0))],
            Targets = [new Target { Name = "iqn.t:t", Luns = new Dictionary<int, LogicalUnit> { [0] = unit } }],
        }, this);
        _server.Start();
        _good = Connect("iqn.good:i");
    }

    private IscsiInitiator Connect(string name) => IscsiInitiator.ConnectAsync(
        new InitiatorOptions { Portal = _server.Portals[0].EndPoint, TargetName = "iqn.t:t", InitiatorName = name }).GetAwaiter().GetResult();

    public override void Run(byte[] input)
    {
        var bad = Connect("iqn.bad:i");
        try
        {
            bad.SendRawAsync(input).AsTask().Wait(TimeSpan.FromSeconds(5));
            bad.PingAsync([1]).Wait(TimeSpan.FromMilliseconds(5));
        }
        catch (AggregateException)
        {
            // The server has ended the connection, as it may.
        }
        bad.DisposeAsync().AsTask().Wait(TimeSpan.FromSeconds(5));
        // A reset that this input asks for may take effect only beside the next one.
        _resetsInFlight = EndsAllSessions(input) ? 2 : Math.Max(0, _resetsInFlight - 1);
        ScsiAnswer answer;
        try
        {
            answer = _good.ExecuteAsync(0, new byte[6]).GetAwaiter().GetResult();
        }
        catch (IOException) when (_resetsInFlight > 0)
        {
            // The one thing that may end a good session, and it may come back.
            _good = Connect("iqn.good:i");
            answer = _good.ExecuteAsync(0, new byte[6]).GetAwaiter().GetResult();
        }
        // The wrong session may have reset or reserved the unit: that is told, not silence.
        if (answer.Status is not (ScsiStatus.Good or ScsiStatus.CheckCondition or ScsiStatus.ReservationConflict))
            throw new InvalidOperationException($"the good session got {answer.Status}");
        if (_fault is { } fault) throw new InvalidOperationException(fault);
    }

    /// <summary>TARGET COLD RESET is in it somewhere (RFC 7143 11.5.1: the target closes all its sessions).</summary>
    private static bool EndsAllSessions(byte[] input)
    {
        for (int at = 0; at + 1 < input.Length; at++)
            if ((input[at] & 0x3F) == 0x02 && (input[at + 1] & 0x7F) == 0x07) return true;
        return false;
    }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Critical;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel)) _fault = $"{formatter(state, exception)}: {exception}";
    }
}
