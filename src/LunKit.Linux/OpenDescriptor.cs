using System.Runtime.InteropServices;

namespace LunKit.Linux;

/// <summary>
/// The number of a descriptor, for a system call: until this is disposed the descriptor stays open, whatever other threads do. Without
/// it a number could be closed and be another file's before the call, which would then read or write that file.
/// </summary>
internal readonly ref struct OpenDescriptor
{
    private readonly SafeHandle _handle;

    /// <summary>Keeps it open. Throws <see cref="ObjectDisposedException"/> when it is closed already.</summary>
    public OpenDescriptor(SafeHandle handle)
    {
        bool taken = false;
        handle.DangerousAddRef(ref taken);
        _handle = handle;
        Number = (int)handle.DangerousGetHandle();
    }

    public int Number { get; }

    public void Dispose() => _handle.DangerousRelease();
}
