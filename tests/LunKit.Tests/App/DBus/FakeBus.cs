using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace LunKit.Tests.App.DBus;

/// <summary>A bus that a test plays, byte by byte.</summary>
internal sealed class FakeBus : IDisposable
{
    public const string Service = "/org/kernel/TCMUService1", Interface = "org.kernel.TCMUService1";
    private static int s_next;

    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    public FakeBus(string? name = null)
    {
        Name = name ?? $"lunkit-fake-bus-{Environment.ProcessId}-{Interlocked.Increment(ref s_next)}";
        _listener.Bind(new UnixDomainSocketEndPoint("\0" + Name));
        _listener.Listen();
    }

    public string Name { get; }

    public string Address => $"unix:abstract={Name}";

    public Task<Socket> AcceptAsync() => _listener.AcceptAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(60));

    /// <summary>Accepts a service, up to where it has its name.</summary>
    public async Task<Socket> AcceptServiceAsync()
    {
        var socket = await AcceptAsync();
        await ReadLineAsync(socket);
        await SendAsync(socket, "OK 0123456789abcdef0123456789abcdef\r\n"u8.ToArray());
        Assert.Equal("BEGIN\r\n", await ReadLineAsync(socket));
        await AnswerAsync(socket, "Hello", "s", Text(":1.1"));
        await AnswerAsync(socket, "RequestName", "u", [1, 0, 0, 0]);
        return socket;
    }

    private static async Task AnswerAsync(Socket socket, string method, string signature, byte[] body)
    {
        byte[] call = await ReceiveAsync(socket);
        Assert.Contains(method, Encoding.UTF8.GetString(call), StringComparison.Ordinal);
        byte[] serial = call[8..12];
        await SendAsync(socket, Message(2, 0, 1, signature, body, (5, 'u', serial)));
    }

    public static async Task<string> ReadLineAsync(Socket socket)
    {
        var line = new List<byte>();
        var one = new byte[1];
        while (line.Count == 0 || line[^1] != '\n')
        {
            if (await socket.ReceiveAsync(one, TestContext.Current.CancellationToken) == 0) break;
            if (one[0] != 0) line.Add(one[0]);
        }
        return Encoding.ASCII.GetString([.. line]);
    }

    public static async Task SendAsync(Socket socket, byte[] bytes)
    {
        for (int at = 0; at < bytes.Length;) at += await socket.SendAsync(bytes.AsMemory(at), TestContext.Current.CancellationToken);
    }

    /// <summary>The next message of the service, whole; empty when it has closed.</summary>
    public static async Task<byte[]> ReceiveAsync(Socket socket)
    {
        byte[] header = await FillAsync(socket, 16);
        if (header.Length < 16) return [];
        int fields = BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(12)), body = BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(4));
        return [.. header, .. await FillAsync(socket, ((fields + 7) & ~7) + body)];
    }

    private static async Task<byte[]> FillAsync(Socket socket, int count)
    {
        var bytes = new byte[count];
        for (int at = 0; at < count;)
        {
            int more = await socket.ReceiveAsync(bytes.AsMemory(at), TestContext.Current.CancellationToken);
            if (more == 0) return [];
            at += more;
        }
        return bytes;
    }

    /// <summary>A call of CheckConfig.</summary>
    public static byte[] Check(uint serial, string config, bool noReply = false) => Message(1, noReply ? (byte)1 : (byte)0, serial, "s", Text(config),
        (1, 'o', Text($"{Service}/file")), (2, 's', Text(Interface)), (3, 's', Text("CheckConfig")), (7, 's', Text(":1.7")));

    public static byte[] Text(string text) => [.. Number((uint)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text), 0];

    private static byte[] Number(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] Message(byte type, byte flags, uint serial, string signature, byte[] body, params (byte Code, char Type, byte[] Value)[] fields)
    {
        var array = new List<byte>();
        foreach (var field in fields.Append(((byte)8, 'g', [(byte)signature.Length, .. Encoding.ASCII.GetBytes(signature), 0])))
        {
            while (array.Count % 8 != 0) array.Add(0);
            array.AddRange([field.Item1, 1, (byte)field.Item2, 0]);
            array.AddRange(field.Item3);
        }
        int length = array.Count;
        while (array.Count % 8 != 0) array.Add(0);
        return [(byte)'l', type, flags, 1, .. Number((uint)body.Length), .. Number(serial), .. Number((uint)length), .. array, .. body];
    }

    public void Dispose() => _listener.Dispose();
}
