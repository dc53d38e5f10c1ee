namespace LunKit.Tests;

/// <summary>Tests that put something in place of the process's console run alone: others write there, too.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public static class ConsoleTests
{
    public const string Name = "the console of the process";
}
