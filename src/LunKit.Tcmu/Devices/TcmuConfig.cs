using LunKit.Backstores;
using LunKit.LogicalUnits;

namespace LunKit.Tcmu.Devices;

/// <summary>What a handler is told of the device that it is to serve.</summary>
/// <param name="Subtype">The handler's own name, by which the kernel's configuration calls it.</param>
/// <param name="Path">The rest of the configuration: what the handler makes of it is its own affair.</param>
/// <param name="DeviceName">The device, e.g. <c>tcm-user/0/disk0/file//srv/disk.img</c>.</param>
/// <param name="SizeBytes">Size of the disk, as the kernel tells it to initiators.</param>
/// <param name="BlockSize">Logical block size in bytes.</param>
/// <param name="Identity">The unit's names, as the kernel has them: the ones to tell initiators.</param>
public sealed record TcmuConfig(string Subtype, string Path, string DeviceName, long SizeBytes, int BlockSize, UnitIdentity Identity)
{
    /// <summary>
    /// Whether the device was there before, so that what is behind it must be there: an image that is missing is on a file system that is not mounted,
    /// and a new one in its place would be a blank disk under the old identity.
    /// </summary>
    public bool MustExist { get; init; }

    /// <summary>The same for a unit, whose initiators stay connected while handlers come and go.</summary>
    public UnitSuccession Succession => (MustExist ? UnitSuccession.Later : UnitSuccession.First) with { Epoch = Epoch };

    /// <summary>A number for the time during which the target's initiators stay connected.</summary>
    public ulong Epoch { get; init; }

    /// <summary>
    /// Whether a handler of this time has kept the unit's state over its end: it is to be found again, because it may say that the disk is not erased as somebody was
    /// promised.
    /// </summary>
    public bool StateWasKept { get; init; }
}

/// <summary>
/// Opens the backstore of a device. Throws <see cref="BackstoreException"/> or another <see cref="IOException"/> with a message for the
/// operator when it cannot. Its length is the device's, or can be made so.
/// </summary>
public delegate ValueTask<IBackstore> TcmuHandlerFactory(TcmuConfig config, CancellationToken cancellationToken);

/// <summary>
/// Opens a device as a unit that is more, or other, than a backstore: a <see cref="CustomUnit"/>, or a <see cref="BlockUnit"/> with a
/// state of its own. Throws as <see cref="TcmuHandlerFactory"/> does.
/// </summary>
public delegate ValueTask<LogicalUnit> TcmuUnitFactory(TcmuConfig config, CancellationToken cancellationToken);
