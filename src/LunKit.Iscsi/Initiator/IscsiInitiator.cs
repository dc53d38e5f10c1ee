using System.Collections.Concurrent;
using System.Net.Sockets;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Iscsi.Initiator;

/// <summary>
/// An iSCSI initiator: one connection, any number of commands at once. Thread safe after <see cref="ConnectAsync"/>. When the
/// connection ends, everything that waits fails with <see cref="IOException"/>.
/// </summary>
public sealed partial class IscsiInitiator : IAsyncDisposable
{
    private readonly InitiatorOptions _options;
    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly SemaphoreSlim _send = new(1, 1);
    private readonly ConcurrentDictionary<uint, PendingAnswer> _pending = new();
    private readonly NegotiatedParameters _parameters = new();
    private int _nextTag;
    private uint _cmdSn = 1;
    private uint _expStatSn;
    private Task _receiving = Task.CompletedTask;
    private volatile Exception? _failure;
    private volatile bool _reads = true;

    private IscsiInitiator(InitiatorOptions options, Socket socket)
    {
        _options = options;
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true);
    }

    /// <summary>Session handle (TSIH) that the target gave.</summary>
    public ushort SessionHandle { get; private set; }

    /// <summary>Completes when the target asks for a logout, or the connection ends.</summary>
    public Task LogoutRequested => _logoutRequested.Task;

    /// <summary>Changes (or drops, with null) PDUs before they are sent: for tests of how a target bears wrong ones.</summary>
    internal Func<byte[], byte[]?>? Mangle { get; set; }

    internal NegotiatedParameters Parameters => _parameters;

    /// <summary>Leaves what comes in the socket: for tests of how a target bears that.</summary>
    internal void StopReading() => _reads = false;

    internal uint CommandNumber => _cmdSn;

    internal void SetCommandNumber(uint cmdSn) => _cmdSn = cmdSn;

    private readonly TaskCompletionSource _logoutRequested = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private TimeSpan Timeout => TimeSpan.FromSeconds(_options.TimeoutSeconds);

    /// <summary>Connects and logs in. Throws <see cref="IscsiLoginException"/> when the target refuses.</summary>
    public static async Task<IscsiInitiator> ConnectAsync(InitiatorOptions options, CancellationToken cancellationToken = default)
    {
        var socket = new Socket(options.Portal.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(options.Portal, cancellationToken).ConfigureAwait(false);
            var initiator = new IscsiInitiator(options, socket);
            await initiator.LoginAsync(cancellationToken).WaitAsync(initiator.Timeout, cancellationToken).ConfigureAwait(false);
            initiator._receiving = initiator.ReceiveLoopAsync();
            return initiator;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Executes a SCSI command.</summary>
    /// <param name="lun">Logical unit number.</param>
    /// <param name="cdb">6 to 260 bytes.</param>
    /// <param name="dataOut">Data for the target, or null.</param>
    /// <param name="dataInLength">Bytes expected from the target; not together with <paramref name="dataOut"/>.</param>
    /// <param name="attribute">Task attribute.</param>
    /// <param name="cancellationToken">Gives up waiting; the command goes on.</param>
    public async Task<ScsiAnswer> ExecuteAsync(
        int lun, byte[] cdb, byte[]? dataOut = null, int dataInLength = 0, TaskAttribute attribute = TaskAttribute.Simple,
        CancellationToken cancellationToken = default)
    {
        var (tag, answer) = await StartAsync(lun, cdb, dataOut, dataInLength, attribute).ConfigureAwait(false);
        _ = tag;
        return await answer.WaitAsync(Timeout, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sends a SCSI command; returns its tag, for task management, and its answer to come.</summary>
    internal async Task<(uint Tag, Task<ScsiAnswer> Answer)> StartAsync(
        int lun, byte[] cdb, byte[]? dataOut, int dataInLength, TaskAttribute attribute = TaskAttribute.Simple, uint? expected = null)
    {
        ulong field = LunAddress.Encode(lun);
        var pending = new PendingAnswer(dataOut, dataInLength) { Lun = field };
        uint tag = Register(pending);
        int length = dataOut?.Length ?? dataInLength;
        int immediate = dataOut is not null && _parameters.ImmediateData
            ? Math.Min(Math.Min(dataOut.Length, _parameters.FirstBurstLength), _parameters.PeerMaxRecvDataSegmentLength) : 0;
        int unsolicited = dataOut is not null && !_parameters.InitialR2T ? Math.Min(dataOut.Length, _parameters.FirstBurstLength) : immediate;
        int extra = cdb.Length > 16 ? Bhs.Padded(cdb.Length - 16) + 4 : 0;
        var pdu = new byte[Bhs.Length + extra];
        ScsiCommandPdu.Write(pdu.AsSpan(0, Bhs.Length), field, tag, dataInLength > 0, dataOut is not null,
            final: unsolicited <= immediate, (int)attribute, expected ?? (uint)length, cdb);
        if (extra > 0)
        {
            pdu[4] = (byte)(extra / 4);
            pdu[Bhs.Length] = (byte)(cdb.Length - 16 + 1 >> 8);
            pdu[Bhs.Length + 1] = (byte)(cdb.Length - 16 + 1);
            pdu[Bhs.Length + 2] = 1;
            cdb.AsSpan(16).CopyTo(pdu.AsSpan(Bhs.Length + 4));
        }
        await _send.WaitAsync().ConfigureAwait(false);
        try
        {
            await SendLockedAsync(pdu, dataOut.AsMemory(0, immediate), numbered: true).ConfigureAwait(false);
            if (unsolicited > immediate) await SendDataOutAsync(pending, tag, Bhs.ReservedTag, immediate, unsolicited - immediate).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            Fail(e);
        }
        finally
        {
            _send.Release();
        }
        return (tag, pending.AnswerAsync());
    }

    /// <summary>Asks for a task management function; returns the response code of RFC 7143 11.6.1 (0: done).</summary>
    public async Task<int> ManageAsync(TaskManagementFunction function, int lun, uint referencedTag = Bhs.ReservedTag, CancellationToken cancellationToken = default)
    {
        var pending = new PendingAnswer(null, 0);
        uint tag = Register(pending);
        var pdu = new byte[Bhs.Length];
        TaskManagementPdu.WriteRequest(pdu, (int)function, LunAddress.Encode(lun), tag, referencedTag, _cmdSn - 1); // the referenced command is older than the next one
        pdu[0] |= 0x40;
        await SendAsync(pdu, default, numbered: false).ConfigureAwait(false);
        var (bhs, _) = await pending.Answer.Task.WaitAsync(Timeout, cancellationToken).ConfigureAwait(false);
        return bhs[2];
    }

    /// <summary>Sends data that the target sends back (NOP-Out).</summary>
    public async Task<byte[]> PingAsync(byte[] data, CancellationToken cancellationToken = default)
    {
        var pending = new PendingAnswer(null, 0);
        var pdu = new byte[Bhs.Length];
        NopPdu.Write(pdu, PduOpcode.NopOut, 0, Register(pending), Bhs.ReservedTag, data.Length);
        await SendAsync(pdu, data, numbered: true).ConfigureAwait(false);
        return (await pending.Answer.Task.WaitAsync(Timeout, cancellationToken).ConfigureAwait(false)).Data;
    }

    /// <summary>The names and portals of targets: "All" in a discovery session, or empty for the session's own.</summary>
    public async Task<IReadOnlyList<KeyValuePair<string, string>>> SendTargetsAsync(string value = "All", CancellationToken cancellationToken = default)
    {
        var text = new List<byte>();
        uint transferTag = Bhs.ReservedTag;
        byte[] request = TextKeys.Format([new("SendTargets", value)]);
        while (true)
        {
            var pending = new PendingAnswer(null, 0);
            var pdu = new byte[Bhs.Length];
            TextPdu.Write(pdu, PduOpcode.TextRequest, TextPdu.Final, Register(pending), transferTag, request.Length);
            await SendAsync(pdu, request, numbered: true).ConfigureAwait(false);
            var (bhs, data) = await pending.Answer.Task.WaitAsync(Timeout, cancellationToken).ConfigureAwait(false);
            text.AddRange(data);
            if (text.Count > 1 << 20) throw new IOException("the answer to SendTargets is longer than 1 MiB");
            if ((bhs[1] & TextPdu.Final) != 0) return TextKeys.Parse([.. text]);
            transferTag = new Bhs(bhs).TargetTransferTag;
            request = [];
        }
    }

    /// <summary>Logs out and closes the connection.</summary>
    public async Task LogoutAsync(CancellationToken cancellationToken = default)
    {
        var pending = new PendingAnswer(null, 0);
        var pdu = new byte[Bhs.Length];
        LogoutPdu.WriteRequest(pdu, 0, Register(pending), _options.ConnectionId);
        await SendAsync(pdu, default, numbered: true).ConfigureAwait(false);
        await pending.Answer.Task.WaitAsync(Timeout, cancellationToken).ConfigureAwait(false);
        await DisposeAsync().ConfigureAwait(false);
    }

    private uint Register(PendingAnswer pending)
    {
        uint tag = (uint)Interlocked.Increment(ref _nextTag);
        _pending[tag] = pending;
        if (_failure is { } failure) pending.Answer.TrySetException(new IOException("the connection has ended", failure));
        return tag;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync().ConfigureAwait(false);
        await _receiving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        Fail(new IOException("the initiator was closed"));
    }
}
