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
    private readonly IscsiInitiator _good;
    private volatile string? _fault;

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
        // The wrong session may have reset or reserved the unit: that is told, not silence.
        var answer = _good.ExecuteAsync(0, new byte[6]).GetAwaiter().GetResult();
        if (answer.Status is not (ScsiStatus.Good or ScsiStatus.CheckCondition or ScsiStatus.ReservationConflict))
            throw new InvalidOperationException($"the good session got {answer.Status}");
        if (_fault is { } fault) throw new InvalidOperationException(fault);
    }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Critical;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel)) _fault = $"{formatter(state, exception)}: {exception}";
    }
}
