namespace LunKit.Testing;

/// <summary>What checks are written with.</summary>
internal static class Contract
{
    /// <summary>Fails the check when something does not hold.</summary>
    public static void Require(bool holds, string otherwise)
    {
        if (!holds) throw new ContractException(otherwise);
    }

    /// <summary>Waits for something that somebody else does.</summary>
    public static async Task UntilAsync(Func<bool> holds, string what, CancellationToken stop)
    {
        for (long end = Environment.TickCount64 + 30_000; !holds();)
        {
            Require(Environment.TickCount64 < end, $"{what} does not happen within 30 s");
            await Task.Delay(20, stop).ConfigureAwait(false);
        }
    }
}

/// <summary>A check does not apply to this backstore.</summary>
internal sealed class NotApplicableException(string why) : Exception(why);
