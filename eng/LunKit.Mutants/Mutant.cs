namespace LunKit.Mutants;

/// <summary>One fault that can be put in.</summary>
/// <param name="File">Path in the repository.</param>
/// <param name="Line">Line of the original file, from 1.</param>
/// <param name="Member">The method or property that it is in.</param>
/// <param name="Change">What it changes, in words: "a &lt; b -> a &lt;= b".</param>
/// <param name="Occurrence">Which one of several equal changes in the member, from 0.</param>
internal sealed record Mutant(string File, int Line, string Member, string Change, int Occurrence)
{
    /// <summary>Its number in the build, from 1.</summary>
    public int Number { get; set; }

    /// <summary>The same mutant in another run, as long as its member does not change.</summary>
    public string Key => $"{File}|{Member}|{Change}|{Occurrence}";
}

/// <summary>What became of a mutant.</summary>
internal enum Outcome
{
    /// <summary>A test failed.</summary>
    Killed,
    /// <summary>The tests did not end in their time.</summary>
    Hung,
    /// <summary>All tests that reach it passed.</summary>
    Survived,
    /// <summary>No test reaches it.</summary>
    NotReached,
    /// <summary>A patch that does not apply, or does not compile.</summary>
    Broken,
}

/// <summary>A mutant's outcome, and the test that found it.</summary>
internal sealed record Result(string Key, string File, int Line, string Change, Outcome Outcome, string By);
