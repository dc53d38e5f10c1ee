using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace LunKit.App.Serve;

/// <summary>The live line of <c>lunkit serve</c> on a terminal; nothing where the output is not one.</summary>
internal static class Throughput
{
    public static async Task ShowAsync(Server server, Task stop)
    {
        if (!AnsiConsole.Profile.Out.IsTerminal || Console.IsOutputRedirected)
        {
            await stop;
            return;
        }
        await AnsiConsole.Status().Spinner(Spinner.Known.Dots).StartAsync("waiting for initiators (Ctrl-C stops)", async status =>
        {
            var last = Sample(server);
            long at = Stopwatch.GetTimestamp();
            while (await Task.WhenAny(stop, Task.Delay(1000)) != stop)
            {
                var now = Sample(server);
                double seconds = Stopwatch.GetElapsedTime(at).TotalSeconds;
                at = Stopwatch.GetTimestamp();
                double commands = (now.Commands - last.Commands) / seconds;
                status.Status = string.Create(CultureInfo.InvariantCulture,
                    $"{server.SessionCount} session(s)  {commands:0} commands/s  read {ByteSize.Format((now.Read - last.Read) / seconds)}/s  written {ByteSize.Format((now.Written - last.Written) / seconds)}/s  (Ctrl-C stops)");
                last = now;
            }
        });
    }

    private static (long Commands, long Read, long Written) Sample(Server server) => (
        server.Units.Sum(u => u.Statistics.Commands), server.Units.Sum(u => u.Statistics.BytesRead), server.Units.Sum(u => u.Statistics.BytesWritten));
}
