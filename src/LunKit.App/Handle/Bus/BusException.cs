namespace LunKit.App.Handle.Bus;

/// <summary>Why the bus cannot be used.</summary>
internal sealed class BusException : Exception
{
    public BusException(string message, Exception? inner = null) : base(message, inner) { }
}
