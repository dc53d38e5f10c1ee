using LunKit.Backstores;

namespace LunKit.Tests.Backstores.Filters;

/// <summary>Memory disks whose operations hang until the test opens them.</summary>
internal static class HangingDisk
{
    /// <summary>A disk that hangs, whether its calls are cancelled or not.</summary>
    /// <param name="operations">What hangs.</param>
    /// <param name="heedsCancellation">Whether a cancellation ends it.</param>
    public static FaultFilter Create(OperationClasses operations = OperationClasses.Read | OperationClasses.Write, bool heedsCancellation = false) =>
        new(new MemoryBackstore(1 << 20), new FaultSettings(new FaultRule { Effect = FaultEffect.Hang, Operations = operations, HeedsCancellation = heedsCancellation }));

    /// <summary>Lets all calls go on, on the caller's thread.</summary>
    public static void Open(this FaultFilter disk) => disk.Settings = FaultSettings.Off;
}
