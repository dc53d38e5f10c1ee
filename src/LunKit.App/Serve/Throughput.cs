using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Spectre.Console;

namespace LunKit.App.Serve;

/// <summary>The live line of <c>lunkit serve</c> on a terminal; a log line a minute where the output is not one.</summary>
internal static class Throughput
{
    private const int LogSeconds = 60;

    public static async Task ShowAsync(Server server, ILogger log, Task stop)
    {
        if (!AnsiConsole.Profile.Out.IsTerminal || Console.IsOutputRedirected)
        {
            await LogAsync(server, log, stop);
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

    /// <summary>A line a minute, if there was traffic.</summary>
    private static async Task LogAsync(Server server, ILogger log, Task stop)
    {
        var last = Sample(server);
        while (await Task.WhenAny(stop, Task.Delay(TimeSpan.FromSeconds(LogSeconds))) != stop)
        {
            var now = Sample(server);
            if (now == last) continue;
            ServeLog.Throughput(log, server.SessionCount, (now.Commands - last.Commands) / (double)LogSeconds,
                ByteSize.Format((now.Read - last.Read) / (double)LogSeconds), ByteSize.Format((now.Written - last.Written) / (double)LogSeconds));
            last = now;
        }
    }

    private static (long Commands, long Read, long Written) Sample(Server server) => (
        server.Units.Sum(u => u.Unit.Statistics.Commands), server.Units.Sum(u => u.Unit.Statistics.BytesRead), server.Units.Sum(u => u.Unit.Statistics.BytesWritten));
}
