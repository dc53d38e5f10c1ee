namespace LunKit.Backstores;

/// <summary>A call's turn in a backstore that supports only one at a time; ends with its disposal.</summary>
internal readonly struct BackstoreTurn : IDisposable
{
    private readonly SemaphoreSlim? _turn;

    private BackstoreTurn(SemaphoreSlim turn) => _turn = turn;

    /// <summary>Waits until no other call is in the backstore; at once where calls may overlap (<paramref name="turn"/> is null).</summary>
    public static ValueTask<BackstoreTurn> TakeAsync(SemaphoreSlim? turn, CancellationToken cancellationToken)
    {
        return turn is null ? default : WaitAsync(turn, cancellationToken);

        static async ValueTask<BackstoreTurn> WaitAsync(SemaphoreSlim turn, CancellationToken cancellationToken)
        {
            await turn.WaitAsync(cancellationToken).ConfigureAwait(false);
            return new BackstoreTurn(turn);
        }
    }

    public void Dispose() => _turn?.Release();
}
