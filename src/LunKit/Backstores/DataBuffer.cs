using System.Runtime.CompilerServices;

namespace LunKit.Backstores;

/// <summary>
/// The data of one transfer: one or more non-empty segments of memory, in order. A view: the creator owns the memory and keeps it
/// alive until the operation has completed. Length in bytes.
/// </summary>
public readonly struct DataBuffer
{
    private readonly Memory<byte> _single;
    private readonly Memory<byte>[]? _segments;
    private readonly int _offset;

    /// <summary>A buffer of one segment.</summary>
    public DataBuffer(Memory<byte> memory)
    {
        _single = memory;
        Length = memory.Length;
    }

    /// <summary>A buffer over <paramref name="count"/> segments of an array that the caller leaves alone meanwhile.</summary>
    public DataBuffer(Memory<byte>[] segments, int count)
    {
        if (count == 1)
        {
            _single = segments[0];
            Length = _single.Length;
            return;
        }
        _segments = segments;
        for (int i = 0; i < count; i++) Length += segments[i].Length;
    }

    private DataBuffer(Memory<byte>[] segments, int offset, int length)
    {
        _segments = segments;
        _offset = offset;
        Length = length;
    }

    /// <summary>Bytes in all segments together.</summary>
    public int Length { get; }

    /// <summary>Whether there is no byte.</summary>
    public bool IsEmpty => Length == 0;

    /// <summary>Whether all bytes lie in one piece of memory, and which.</summary>
    public bool TryGetSingle(out Memory<byte> memory)
    {
        memory = _single;
        return _segments is null;
    }

    /// <summary>The bytes [<paramref name="start"/>, start + <paramref name="length"/>) as a buffer of their own.</summary>
    public DataBuffer Slice(int start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)start, (uint)Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)length, (uint)(Length - start));
        return _segments is null ? new(_single.Slice(start, length)) : new(_segments, _offset + start, length);
    }

    /// <summary>Copies all bytes to <paramref name="destination"/>, which is at least as long.</summary>
    public void CopyTo(Span<byte> destination)
    {
        foreach (var segment in this)
        {
            segment.Span.CopyTo(destination);
            destination = destination[segment.Length..];
        }
    }

    /// <summary>Fills the buffer from <paramref name="source"/>, which is at least as long.</summary>
    public void CopyFrom(ReadOnlySpan<byte> source)
    {
        foreach (var segment in this)
        {
            source[..segment.Length].CopyTo(segment.Span);
            source = source[segment.Length..];
        }
    }

    /// <summary>Copies all bytes into <paramref name="destination"/>, which is at least as long.</summary>
    public void CopyTo(DataBuffer destination)
    {
        int at = 0;
        foreach (var segment in this)
        {
            destination.Slice(at, segment.Length).CopyFrom(segment.Span);
            at += segment.Length;
        }
    }

    /// <summary>Index of the first byte that is not as in <paramref name="other"/>, which is as long; -1 when all are.</summary>
    public int FirstDifference(ReadOnlySpan<byte> other)
    {
        int at = 0;
        foreach (var segment in this)
        {
            int same = other.Slice(at, segment.Length).CommonPrefixLength(segment.Span);
            if (same < segment.Length) return at + same;
            at += segment.Length;
        }
        return -1;
    }

    /// <summary>Sets every byte to zero.</summary>
    public void Clear()
    {
        foreach (var segment in this) segment.Span.Clear();
    }

    /// <summary>A copy of all bytes.</summary>
    public byte[] ToArray()
    {
        var copy = new byte[Length];
        CopyTo(copy);
        return copy;
    }

    /// <summary>The number of segments that <see cref="GetEnumerator"/> yields.</summary>
    public int CountSegments()
    {
        int count = 0;
        foreach (var _ in this) count++;
        return count;
    }

    /// <summary>Enumerates the segments, none of them empty.</summary>
    public Enumerator GetEnumerator() => new(this);

    /// <summary>Enumerates the segments of a <see cref="DataBuffer"/>.</summary>
    public struct Enumerator
    {
        private readonly DataBuffer _buffer;
        private int _index;
        private int _skip;
        private int _left;

        internal Enumerator(DataBuffer buffer)
        {
            _buffer = buffer;
            _left = buffer.Length;
            _skip = buffer._offset;
        }

        /// <summary>The segment that the last <see cref="MoveNext"/> reached.</summary>
        public Memory<byte> Current { get; private set; }

        /// <summary>Goes to the next segment; false after the last.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool MoveNext()
        {
            if (_left == 0) return false;
            if (_buffer._segments is null)
            {
                Current = _buffer._single;
                _left = 0;
                return true;
            }
            return MoveNextOfMany();
        }

        private bool MoveNextOfMany()
        {
            var segments = _buffer._segments!;
            while (_skip >= segments[_index].Length) _skip -= segments[_index++].Length;
            var segment = segments[_index++][_skip..];
            _skip = 0;
            if (segment.Length > _left) segment = segment[.._left];
            _left -= segment.Length;
            Current = segment;
            return true;
        }
    }
}
