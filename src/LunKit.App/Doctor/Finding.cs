namespace LunKit.App.Doctor;

/// <summary>How a finding stands.</summary>
internal enum Verdict
{
    /// <summary>As it should be.</summary>
    Good,
    /// <summary>Worth knowing; only some things need it.</summary>
    Note,
    /// <summary>Something does not work, or waits for ever.</summary>
    Bad,
}

/// <summary>What a check found, and what to do about it.</summary>
internal sealed record Finding(Verdict Verdict, string Text, string? Advice = null);
