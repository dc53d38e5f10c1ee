using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Tests.Simulation;

/// <summary>
/// The initiator's end of a connection: PDUs to bytes and back, with digests; login. What PDUs mean is <see cref="WireReceiver"/>'s.
/// </summary>
internal sealed class WireConnection
{
    private sealed record Outgoing(byte[] Bytes, WireCommand? DataOf);

    private readonly LinkedList<Outgoing> _queue = new();
    private readonly WireReceiver _receiver;
    private int _slowness;
    private byte[] _input = new byte[1024];
    private int _have, _offset;
    private long _position;
    private bool _isReading, _headerDigest, _dataDigest;

    public WireConnection(WireInitiator initiator, WireSession? session, ushort cid, string name)
    {
        (Initiator, Session, Cid, Name) = (initiator, session, cid, name);
        var (world, weather) = (initiator.World, initiator.Weather);
        Stream = new SimulatedStream(world, initiator.Clock, weather.Capacity, weather.SlowestMilliseconds);
        Stream.ToInitiator.Readable = Stream.Changed = LookAtStream;
        Stream.ToTarget.Writable = Pump;
        _slowness = world.Chance(weather.SlowReaders) ? world.Between(1, 400) : 0;
        SegmentLength = world.Pick([512, 1024, 4096, 65536]);
        _receiver = new WireReceiver(this);
        if (world.Chance(weather.Dies)) DieSomewhere();
    }

    public WireInitiator Initiator { get; }
    public SimulatedWorld World => Initiator.World;
    public WireSession? Session { get; private set; }
    public ushort Cid { get; }
    public string Name { get; }
    public SimulatedStream Stream { get; }
    public bool IsLoggedIn { get; private set; }
    public bool IsLost { get; private set; }

    /// <summary>The target is not told that it is lost.</summary>
    public bool IsAbandoned { get; private set; }

    /// <summary>Bytes of a segment that this end takes.</summary>
    public int SegmentLength { get; }

    public uint ExpStatSn { get; set; }

    /// <summary>The response to the logout has come: the target closes.</summary>
    public bool IsLoggedOut { get; set; }

    /// <summary>The logout is one of the session.</summary>
    public bool LogsOutSession { get; set; }

    /// <summary>CmdSN of its login.</summary>
    public uint FirstCmdSn { get; private set; }

    /// <summary>Somewhere within the next bytes, in one direction, the connection dies.</summary>
    private void DieSomewhere()
    {
        var pipe = World.Chance(0.5) ? Stream.ToTarget : Stream.ToInitiator;
        pipe.DiesAt = World.Between(1, World.Chance(0.2) ? 600 : 12_000);
        var death = Initiator.Weather.HasSilence && World.Chance(0.3) ? StreamDeath.Silent : World.Chance(0.5) ? StreamDeath.Orderly
            : StreamDeath.Reset;
        pipe.Dies = () => Die(death);
    }

    /// <summary>The faults stop.</summary>
    public void Spare()
    {
        _slowness = Stream.ToTarget.Slowest = Stream.ToInitiator.Slowest = 0;
        if (!IsLost) Stream.ToTarget.DiesAt = Stream.ToInitiator.DiesAt = long.MaxValue;
    }

    public void Die(StreamDeath death)
    {
        if (IsLost || Stream.IsReset) return;
        World.Note($"{this} dies: {death}");
        IsAbandoned = death == StreamDeath.Abandoned;
        Stream.Die(death);
        if (death == StreamDeath.Orderly) Lose();
        // TCP gives up at last, also where the target asks nobody.
        if (death is StreamDeath.Silent or StreamDeath.Abandoned)
            World.After(TimeSpan.FromSeconds(World.Between(60, 150)), () => Stream.Die(StreamDeath.Reset));
        // It finds out some day.
        if (death == StreamDeath.Silent) World.After(TimeSpan.FromSeconds(World.Between(1, 40)), Lose);
    }

    public void Lose()
    {
        if (IsLost) return;
        IsLost = true;
        _queue.Clear();
        World.Note($"{this} is lost");
        Initiator.Lost(this);
    }

    public void LogIn(ulong isid, uint cmdSn, IReadOnlyDictionary<string, string> keys)
    {
        FirstCmdSn = cmdSn;
        var text = TextKeys.Format(keys);
        var pdu = new byte[Bhs.Length];
        LoginPdu.WriteRequest(pdu, true, false, LoginStage.Operational, LoginStage.FullFeature, isid, Session?.Tsih ?? 0, 1, Cid,
            text.Length);
        _ = new Bhs(pdu) { CmdSn = cmdSn };
        Send(pdu, text);
    }

    public void LoggedIn(WireSession session, IReadOnlyDictionary<string, string> keys)
    {
        (Session, IsLoggedIn) = (session, true);
        _headerDigest = keys.GetValueOrDefault("HeaderDigest") == "CRC32C";
        _dataDigest = keys.GetValueOrDefault("DataDigest") == "CRC32C";
    }

    public void Send(byte[] header, ReadOnlySpan<byte> data, WireCommand? dataOf = null)
    {
        if (IsLost) return;
        _ = new Bhs(header) { DataLength = data.Length, ExpStatSn = ExpStatSn };
        int padded = Bhs.Padded(data.Length);
        var bytes = new byte[Bhs.Length + (_headerDigest ? 4 : 0) + padded + (_dataDigest && data.Length > 0 ? 4 : 0)];
        header.CopyTo(bytes, 0);
        int at = Bhs.Length;
        if (_headerDigest)
        {
            Crc32C.Write(header, bytes.AsSpan(at));
            at += 4;
        }
        data.CopyTo(bytes.AsSpan(at));
        if (_dataDigest && data.Length > 0) Crc32C.Write(bytes.AsSpan(at, padded), bytes.AsSpan(at + padded));
        _queue.AddLast(new Outgoing(bytes, dataOf));
        Pump();
    }

    /// <summary>A command is concluded: its data is not sent any more.</summary>
    public void Forget(WireCommand command)
    {
        for (var node = _queue.First; node is not null;)
        {
            var next = node.Next;
            if (node.Value.DataOf == command && !(node == _queue.First && _offset > 0)) _queue.Remove(node);
            node = next;
        }
    }

    private void Pump()
    {
        while (_queue.First is { } first && !IsLost)
        {
            int count = Stream.ToTarget.Write(first.Value.Bytes.AsSpan(_offset), Initiator.Clock.Tick());
            if (count == 0) return;
            _offset += count;
            if (_offset < first.Value.Bytes.Length) continue;
            _offset = 0;
            _queue.Remove(first);
        }
    }

    private void LookAtStream()
    {
        if (_isReading || IsLost) return;
        _isReading = true;
        if (_slowness == 0) World.Soon(Read);
        else World.After(TimeSpan.FromMilliseconds(World.Between(0, _slowness)), Read);
    }

    private void Read()
    {
        _isReading = false;
        if (IsLost) return;
        if (Stream.IsReset)
        {
            Lose();
            return;
        }
        int most = _slowness > 0 ? World.Between(1, 4096) : 1 << 16;
        if (_input.Length - _have < most) Array.Resize(ref _input, _have + most);
        int count = Stream.ToInitiator.Read(_input.AsSpan(_have, most));
        _have += count;
        Parse();
        if (count > 0)
        {
            if (Stream.ToInitiator.Available > 0 || Stream.TargetHasClosed) LookAtStream();
        }
        else if (Stream.TargetHasClosed && Stream.ToInitiator.IsDrained)
        {
            Lose();
        }
    }

    private void Parse()
    {
        int at = 0;
        while (!IsLost)
        {
            int head = Bhs.Length + (_headerDigest ? 4 : 0);
            if (_have - at < head) break;
            var header = _input.AsSpan(at, Bhs.Length);
            int length = new Bhs(header).DataLength, padded = Bhs.Padded(length);
            if (_headerDigest && !Crc32C.Matches(header, _input.AsSpan(at + Bhs.Length, 4)))
                throw new SimulationException($"{this} gets a header with a wrong digest");
            int total = head + padded + (_dataDigest && length > 0 ? 4 : 0);
            if (length > SegmentLength)
                throw new SimulationException($"{this} gets a segment of {length} bytes, and takes {SegmentLength}");
            if (_have - at < total) break;
            if (_dataDigest && length > 0 && !Crc32C.Matches(_input.AsSpan(at + head, padded), _input.AsSpan(at + head + padded, 4)))
                throw new SimulationException($"{this} gets data with a wrong digest");
            long first = Stream.ToInitiator.SentAt(_position + 1), last = Stream.ToInitiator.SentAt(_position + total);
            var pdu = _input.AsSpan(at, Bhs.Length).ToArray();
            var data = _input.AsSpan(at + head, length).ToArray();
            at += total;
            _position += total;
            _receiver.Handle(pdu, data, first, last);
        }
        _input.AsSpan(at, _have - at).CopyTo(_input);
        _have -= at;
    }

    /// <summary>What is on its way.</summary>
    public string Describe() => $"{Name}: {_queue.Count} PDUs to send, {Stream.ToTarget.Describe()} to the target, {Stream.ToInitiator.Describe()} back";

    public override string ToString() => Name;
}
