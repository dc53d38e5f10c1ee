namespace LunKit.Hosting;

/// <summary>Why a <see cref="TargetHost"/> refuses a change.</summary>
public enum HostError
{
    /// <summary>There is no unit, target, LUN or session of that name.</summary>
    NotFound,
    /// <summary>The name, LUN or identity is taken.</summary>
    Taken,
    /// <summary>The unit is mapped, or still closing.</summary>
    InUse,
    /// <summary>What was given is not valid by itself.</summary>
    Invalid,
    /// <summary>The host is stopping.</summary>
    Stopping,
}

/// <summary>A change that a <see cref="TargetHost"/> refuses. Nothing has changed. The message is for the operator.</summary>
/// <param name="error">What is wrong.</param>
/// <param name="message">The same in words, with names.</param>
public sealed class HostException(HostError error, string message) : Exception(message)
{
    /// <summary>What is wrong.</summary>
    public HostError Error { get; } = error;
}
