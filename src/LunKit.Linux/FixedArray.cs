using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace LunKit.Linux;

/// <summary>
/// Views of arrays whose length the caller knows. An ordinary span reads the array's length, which lies before its first byte: for
/// random access over many large arrays that is one more cache miss per access, measured at a fifth of a 4 KiB write.
/// </summary>
public static class FixedArray
{
    /// <summary>The bytes [start, start + count) of an array that has at least <paramref name="knownLength"/> bytes.</summary>
    public static Span<byte> View(byte[] array, int knownLength, int start, int count)
    {
        Debug.Assert(array.Length >= knownLength, "the array is shorter than its owner says");
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)start, (uint)knownLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)count, (uint)(knownLength - start));
        // SAFETY: the range is inside knownLength, which the owner of the array guarantees.
        return MemoryMarshal.CreateSpan(ref Unsafe.Add(ref MemoryMarshal.GetArrayDataReference(array), start), count);
    }
}
