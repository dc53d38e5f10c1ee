using LunKit.Benchmarks;

// ring DEPTH SECONDS: round trips a second through a TCMU ring between two processes, both LunKit's.
return args switch
{
    ["ring", var depth, var seconds] => RingTarget.Run(int.Parse(depth, null), double.Parse(seconds, System.Globalization.CultureInfo.InvariantCulture)),
    ["ring-handler", var path] => RingHandler.Run(path),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("usage: LunKit.Benchmarks ring DEPTH SECONDS (bench/ring runs it beside the same in C)");
    return 2;
}
