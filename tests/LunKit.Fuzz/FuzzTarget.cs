namespace LunKit.Fuzz;

/// <summary>Something that takes any bytes and must neither throw nor hang.</summary>
internal abstract class FuzzTarget(string name)
{
    public string Name { get; } = name;

    public static IReadOnlyList<FuzzTarget> All { get; } = [
        new CdbTarget(), new LoginTarget(), new TextTarget(), new PduTarget(), new RingTarget(), new ProducerTarget(), new ConfigTarget(),
    ];

    public abstract void Run(byte[] input);

    public static IEnumerable<string> CorpusOf(FuzzTarget target) =>
        Directory.Exists(Path.Combine(AppContext.BaseDirectory, "Corpus", target.Name))
            ? Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "Corpus", target.Name)).Order(StringComparer.Ordinal)
            : [];
}

/// <summary>Must fail: proves that the fuzzer can find something.</summary>
internal sealed class CanaryTarget() : FuzzTarget("canary")
{
    public override void Run(byte[] input)
    {
        if (input.Length > 2 && input[0] == 'd' && input[1] == 'i') throw new InvalidOperationException("the canary has died");
    }
}
