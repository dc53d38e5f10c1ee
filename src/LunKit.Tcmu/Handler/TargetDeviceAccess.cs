using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tcmu.Handler;

/// <summary>
/// A device that a LunKit target has granted to this handler, once. Holds the lease: when it is disposed (or this process ends) nothing
/// of the device is in use here any more, its backstore included, and the target may give it to another.
/// </summary>
internal sealed class TargetDeviceAccess : IDeviceAccess
{
    private readonly UserMessage _grant;
    private readonly SafeFileHandle? _lease;
    private SafeFileHandle[]? _descriptors;

    /// <summary>Takes the descriptors over; the caller's handles are invalid afterwards.</summary>
    public TargetDeviceAccess(UserMessage grant, SafeFileHandle[] descriptors)
    {
        _grant = grant;
        _descriptors = [.. descriptors.Select(d =>
        {
            var own = new SafeFileHandle(d.DangerousGetHandle(), ownsHandle: true);
            d.SetHandleAsInvalid();
            return own;
        })];
        _lease = _descriptors.ElementAtOrDefault(3);
        Name = TcmuDeviceName.Parse(grant.Name) ?? throw new IOException($"'{grant.Name}' is no device name");
    }

    public TcmuDeviceName Name { get; }

    public string Path => "from a LunKit target";

    /// <summary>The target answers for its ports itself.</summary>
    public Func<IReadOnlyList<AccessGroup>>? PortGroups => null;

    /// <summary>A grant is for one process.</summary>
    public bool TryOwn() => true;

    /// <summary>A target waits for the answer.</summary>
    public Task KeepSizeAsync(long sizeBytes) => Task.CompletedTask;

    public DeviceDescription ReadSnapshot() =>
        new(checked((long)_grant.SizeBytes), checked((int)_grant.BlockSize), checked((int)_grant.MaxTransferBytes), _grant.Serial, _grant.WriteCache) { WasServed = _grant.WasServed, StateWasKept = _grant.StateWasKept, Epoch = _grant.Epoch };

    public IRingTransport OpenRing(bool takesOver)
    {
        var descriptors = Interlocked.Exchange(ref _descriptors, null) ?? throw new IOException("its ring is broken; the target will offer it again");
        if (descriptors.Length == 4 && _grant.RegionBytes <= int.MaxValue) return new TargetTransport(descriptors, (int)_grant.RegionBytes);
        foreach (var descriptor in descriptors.Where(d => d != _lease)) descriptor.Dispose();
        throw new IOException($"the target sends {descriptors.Length} descriptors for a region of {_grant.RegionBytes} bytes");
    }

    public void Admit(bool takesOver)
    {
    }

    public void Dispose()
    {
        foreach (var descriptor in Interlocked.Exchange(ref _descriptors, null) ?? []) descriptor.Dispose();
        _lease?.Dispose();
    }
}
