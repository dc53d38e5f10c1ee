using System.Net;
using LunKit.Backstores;
using LunKit.Iscsi;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>A program without a log of its own sees all the same why its disk fails.</summary>
[Collection(ConsoleTests.Name)]
public sealed class ErrorLogTests
{
    private sealed class Failing(Exception failure) : BackstoreFilter(new MemoryBackstore(1 << 20), AllFeatures)
    {
        public override ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => throw failure;
    }

    /// <summary>A console of the process, which other tests write to as well: waits for a line with a text.</summary>
    private sealed class ConsoleLines(string wanted) : StringWriter
    {
        private readonly TaskCompletionSource<string> _seen = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<string> SeenAsync() => _seen.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);

        public override void WriteLine(string? value)
        {
            if (value?.Contains(wanted, StringComparison.Ordinal) ?? false) _seen.TrySetResult(value);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WithoutALogErrorsGoToStandardError(bool isFault)
    {
        string why = $"the platter is gone {Guid.NewGuid():N}", iqn = $"iqn.2026-11.local.lunkit:{Guid.NewGuid():N}";
        var (before, beforeErrors) = (Console.Out, Console.Error);
        using ConsoleLines output = new(iqn), errors = new(why);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Console.SetOut(output);
        Console.SetError(errors);
        try
        {
            var failure = isFault ? new InvalidOperationException(why) : (Exception)new BackstoreException(BackstoreError.MediumRead, why);
            var running = IscsiServer.RunAsync(new Failing(failure), iqn, port: 0, log: null, stop.Token);
            var portal = IPEndPoint.Parse(new Uri((await output.SeenAsync()).Split(' ')[4]).Authority);
            await using (var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = portal, TargetName = iqn }, stop.Token))
            {
                await initiator.ExecuteAsync(0, new byte[6], cancellationToken: stop.Token);
                Assert.Equal(ScsiStatus.CheckCondition, (await initiator.ExecuteAsync(0, [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], null, 512, cancellationToken: stop.Token)).Status);
            }
            Assert.Contains(isFault ? nameof(InvalidOperationException) : "failed with sense", await errors.SeenAsync(), StringComparison.Ordinal);
            await stop.CancelAsync();
            await running.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        }
        finally
        {
            Console.SetOut(before);
            Console.SetError(beforeErrors);
        }
    }
}
