namespace LunKit.Linux;

/// <summary>What <see cref="IByteStream.Wait"/> saw.</summary>
[Flags]
public enum StreamReadiness
{
    /// <summary>The time-out passed.</summary>
    None = 0,
    /// <summary>Bytes (or the end of the stream, or an error) can be received without waiting.</summary>
    Readable = 1,
    /// <summary>At least some bytes can be sent without waiting.</summary>
    Writable = 2,
    /// <summary><see cref="IByteStream.Signal"/> was called.</summary>
    Signalled = 4,
}

/// <summary>
/// A stream of bytes to and from one peer. No call but <see cref="Wait"/> blocks. One thread uses it; other threads call
/// <see cref="Signal"/> and <see cref="PeerHasClosed"/> only. A failed connection is an <see cref="IOException"/> of the call that
/// notices it.
/// </summary>
public interface IByteStream : IDisposable
{
    /// <summary>Pieces that one call sends at most.</summary>
    const int MaxPieces = 32;

    /// <summary>Receives what is there. Returns the byte count, 0 at the end of the stream, or -1 when nothing is there now.</summary>
    int Receive(Span<byte> buffer);

    /// <summary>
    /// Receives into <paramref name="first"/> and, when that is full, into <paramref name="second"/>, in one call. Same results as
    /// the other.
    /// </summary>
    int Receive(Span<byte> first, Span<byte> second);

    /// <summary>Bytes that can be received now.</summary>
    int Available { get; }

    /// <summary>Sends what fits now. Returns the byte count, or -1 when nothing fits.</summary>
    /// <param name="buffer">The bytes.</param>
    /// <param name="more">The caller sends more at once: a packet may wait for it.</param>
    int Send(ReadOnlySpan<byte> buffer, bool more = false);

    /// <summary>Sends what fits now of several pieces, at most <see cref="MaxPieces"/>, in one call. Same results as the other.</summary>
    int Send(ReadOnlySpan<ReadOnlyMemory<byte>> pieces, bool more);

    /// <summary>
    /// Waits until the stream is readable (if <paramref name="read"/>), writable (if <paramref name="write"/>) or signalled, at most
    /// <paramref name="timeoutMilliseconds"/> (-1: no limit). A signal is taken back before this returns.
    /// </summary>
    StreamReadiness Wait(bool read, bool write, int timeoutMilliseconds);

    /// <summary>Ends a wait, now or the next one. Any thread, also after disposal.</summary>
    void Signal();

    /// <summary>
    /// Whether the peer has closed its end, or this end is closed, or the connection failed; bytes from before may still be here. Any
    /// thread.
    /// </summary>
    bool PeerHasClosed { get; }

    /// <summary>Tells the peer that nothing more is sent. A connection that has failed already stays as it is.</summary>
    void ShutdownSend();

    /// <summary>Closes the stream to the peer. <see cref="Signal"/> and a <see cref="Wait"/> for signals go on until disposal.</summary>
    void Close();
}
