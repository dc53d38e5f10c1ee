namespace LunKit.Testing;

/// <summary>What became of a check.</summary>
public enum ContractOutcome
{
    /// <summary>It holds.</summary>
    Passed,
    /// <summary>It does not hold.</summary>
    Failed,
    /// <summary>The backstore does not claim what it checks, or the options do not let it.</summary>
    NotApplicable,
}

/// <summary>One check of a <see cref="BackstoreContract"/>.</summary>
/// <param name="Name">What is checked.</param>
/// <param name="Outcome">What became of it.</param>
/// <param name="Message">Why it failed or does not apply; of some that passed what they saw, else empty.</param>
/// <param name="Duration">How long it took.</param>
public sealed record ContractResult(string Name, ContractOutcome Outcome, string Message, TimeSpan Duration);

/// <summary>The checks of one run, in their order.</summary>
public sealed record ContractReport(IReadOnlyList<ContractResult> Results)
{
    /// <summary>Whether no check failed.</summary>
    public bool IsPassed => Results.All(r => r.Outcome != ContractOutcome.Failed);

    /// <summary>Throws <see cref="ContractException"/> when a check failed.</summary>
    public ContractReport EnsurePassed() => IsPassed ? this : throw new ContractException(ToString());

    /// <inheritdoc/>
    public override string ToString() => string.Join(Environment.NewLine,
        Results.Select(r => $"{r.Outcome,-13} {r.Name} ({r.Duration.TotalSeconds:F1} s){(r.Message.Length == 0 ? "" : ": " + r.Message)}"));
}

/// <summary>A backstore does not keep its contract.</summary>
public sealed class ContractException(string message) : Exception(message);
