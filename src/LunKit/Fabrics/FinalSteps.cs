namespace LunKit.Fabrics;

/// <summary>
/// The end of something, in steps that are each begun once, in their order, whatever becomes of the others: a fault in one of them leaves nothing
/// behind of the rest. One thread at a time.
/// </summary>
internal sealed class FinalSteps(params Action[] steps)
{
    private int _next;

    /// <summary>Takes the steps that are left; what they throw is handed to <paramref name="failed"/>, and what that throws is lost.</summary>
    public void Run(Action<Exception> failed)
    {
        while (_next < steps.Length)
        {
            try
            {
                steps[_next++]();
            }
            catch (Exception e)
            {
                Tell(failed, e);
            }
        }
    }

    private static void Tell(Action<Exception> failed, Exception e)
    {
        try
        {
            failed(e);
        }
        catch
        {
            // A log that fails holds up nothing.
        }
    }
}
