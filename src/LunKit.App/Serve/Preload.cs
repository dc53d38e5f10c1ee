using LunKit.Diagnostics;

namespace LunKit.App.Serve;

/// <summary>What a server needs before it serves, so that it does not fail for want of a descriptor later.</summary>
internal static class Preload
{
    /// <exception cref="UserException">The limit of open files is too small.</exception>
    public static void All()
    {
        try
        {
            Preloading.Load(typeof(Preload).Assembly);
        }
        catch (IOException e)
        {
            throw new UserException(e.Message);
        }
    }
}
