using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>What became of a command that a SCSI device was given.</summary>
/// <param name="Status">SCSI status, when the device has answered.</param>
/// <param name="HostStatus">0 when the host adapter has no complaint (<c>DID_OK</c>).</param>
/// <param name="Transferred">Bytes that were moved.</param>
/// <param name="SenseLength">Bytes of sense data that were written.</param>
public readonly record struct ScsiDeviceResult(byte Status, int HostStatus, int Transferred, int SenseLength);

/// <summary>
/// A SCSI device behind a node that takes SG_IO: <c>/dev/sgN</c>, <c>/dev/sdX</c>, <c>/dev/nstN</c> and so on. Thread safe: each call
/// waits for its own command. A command runs once: a signal, or SIGSTOP and SIGCONT, ends the wait of SG_IO on a generic node, and the kernel would give
/// the device the command a second time (a tape would have the block twice); there a command is sent with write(2) and its answer is awaited with read(2).
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class ScsiDevice : IScsiDevice
{
    /// <summary>The longest CDB that SG_IO takes.</summary>
    public const int MaxCdbLength = 252;

    private const nuint SgIo = 0x2285, SgSetForcePackId = 0x227B, BlkSectorGet = 0x1267;
    private const int None = -1, ToDevice = -2, FromDevice = -3, DriverSense = 0x08;
    private const int SetFlags = 4; // F_SETFL

    [StructLayout(LayoutKind.Sequential)]
    private struct SgIoHeader
    {
        public int InterfaceId, Direction;
        public byte CdbLength, SenseRoom;
        public ushort VectorCount;
        public uint TransferLength;
        public void* Data;
        public byte* Cdb;
        public byte* Sense;
        public uint TimeoutMilliseconds, Flags;
        public int PackId;
        public void* User;
        public byte Status, MaskedStatus, MessageStatus, SenseWritten;
        public ushort HostStatus, DriverStatus;
        public int Residual;
        public uint Duration, Info;
    }

    private readonly SafeFileHandle _node;
    private readonly SafeFileHandle? _claim;
    private readonly bool _isGeneric;
    private int _lastPack;

    private ScsiDevice(SafeFileHandle node, SafeFileHandle? claim) => (_node, _claim, _isGeneric) = (node, claim, CanCollect(node));

    /// <summary>Whether answers can be read by the number of their command, which generic nodes alone know. Reads wait from then on.</summary>
    private static bool CanCollect(SafeFileHandle node)
    {
        using var fd = new OpenDescriptor(node);
        int on = 1;
        // SAFETY: it reads an int.
        return LibC.ioctl(fd.Number, SgSetForcePackId, &on) == 0 && LibC.fcntl(fd.Number, SetFlags, LibC.O_RDWR) == 0;
    }

    /// <summary>
    /// Opens the device for this process alone: no other may have it, and a disk behind it is claimed as by a mount. Throws
    /// <see cref="LinuxException"/>, with <see cref="LinuxException.IsBusy"/> when somebody has it.
    /// </summary>
    public static ScsiDevice Open(string path)
    {
        // Not blocking: what waits for a medium waits in the command.
        int fd = LibC.open(path, LibC.O_RDWR | LibC.O_EXCL | LibC.O_NONBLOCK | LibC.O_CLOEXEC, 0);
        if (fd < 0) throw new LinuxException("open", LibC.Errno);
        var node = new SafeFileHandle(fd, ownsHandle: true);
        try
        {
            return new ScsiDevice(node, Claim(path));
        }
        catch
        {
            node.Dispose();
            throw;
        }
    }

    /// <summary>A disk behind a generic node has a block device too, which somebody may have mounted.</summary>
    private static SafeFileHandle? Claim(string path)
    {
        string name = Path.GetFileName(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path), disks = $"/sys/class/scsi_generic/{name}/device/block";
        return Directory.Exists(disks) && Directory.EnumerateFileSystemEntries(disks).FirstOrDefault() is { } disk ? BlockDevice.Open($"/dev/{Path.GetFileName(disk)}", readOnly: false) : null;
    }

    /// <summary>Bytes that one command may move, as the host adapter has it; null where it does not say.</summary>
    public int? MaxTransferBytes
    {
        get
        {
            using var fd = new OpenDescriptor(_node);
            int bytes = 0;
            // SAFETY: a generic node writes an int. A block device writes a short of sectors, which is not asked for here.
            return LibC.ioctl(fd.Number, BlkSectorGet, &bytes) == 0 && bytes >= 65536 ? bytes : null;
        }
    }

    /// <inheritdoc/>
    public ScsiDeviceResult Execute(ReadOnlySpan<byte> cdb, Span<byte> data, bool toDevice, Span<byte> sense, TimeSpan timeout)
    {
        using var fd = new OpenDescriptor(_node);
        // SAFETY: everything that the header points to is pinned for the call, which returns when the command has ended.
        fixed (byte* c = cdb, d = data, s = sense)
        {
            var header = new SgIoHeader
            {
                InterfaceId = 'S', Direction = data.IsEmpty ? None : toDevice ? ToDevice : FromDevice, CdbLength = (byte)cdb.Length, SenseRoom = (byte)Math.Min(sense.Length, 252),
                TransferLength = (uint)data.Length, Data = d, Cdb = c, Sense = s, TimeoutMilliseconds = (uint)Math.Min(timeout.TotalMilliseconds, int.MaxValue),
            };
            if (_isGeneric) SendAndCollect(fd.Number, &header);
            // Here the kernel's wait is one that signals do not end.
            else if (LibC.ioctl(fd.Number, SgIo, (int*)&header) < 0) throw new LinuxException("SG_IO", LibC.Errno);
            int written = (header.DriverStatus & DriverSense) != 0 || header.Status == 2 ? header.SenseWritten : 0;
            return new(header.Status, header.HostStatus, data.Length - Math.Clamp(header.Residual, 0, data.Length), written);
        }
    }

    private void SendAndCollect(int node, SgIoHeader* header)
    {
        header->PackId = Interlocked.Increment(ref _lastPack) & int.MaxValue;
        // It does not wait for the device. Data is copied at the send and at the read: nothing here is touched in between.
        while (LibC.write(node, (byte*)header, (nuint)sizeof(SgIoHeader)) < 0)
            if (LibC.Errno != Errno.EINTR) throw new LinuxException("write", LibC.Errno);
        while (LibC.read(node, (byte*)header, (nuint)sizeof(SgIoHeader)) < 0)
            if (LibC.Errno != Errno.EINTR) throw new LinuxException("read", LibC.Errno);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _node.Dispose();
        _claim?.Dispose();
    }
}
