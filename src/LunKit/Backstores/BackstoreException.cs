namespace LunKit.Backstores;

/// <summary>Why a backstore could not do what it was asked.</summary>
public enum BackstoreError
{
    /// <summary>The bytes cannot be read: they are lost or damaged.</summary>
    MediumRead,
    /// <summary>The bytes cannot be written to the medium.</summary>
    MediumWrite,
    /// <summary>No space is left.</summary>
    NoSpace,
    /// <summary>The backstore does not take writes.</summary>
    ReadOnly,
    /// <summary>What holds the bytes cannot be reached now; trying again may help.</summary>
    Unreachable,
    /// <summary>The backstore is connecting to what holds the bytes: it will serve again by itself.</summary>
    Connecting,
    /// <summary>Threads, descriptors or memory have run out: nothing was done, and trying again helps.</summary>
    Busy,
    /// <summary>Another process has it to itself.</summary>
    InUse,
    /// <summary>The bytes are there but something inside failed.</summary>
    Internal,
}

/// <summary>What the world did wrong, in a backstore's words. The device server turns it into sense at one place.</summary>
public sealed class BackstoreException : IOException
{
    /// <summary>The kind of failure; decides the sense data.</summary>
    public BackstoreError Error { get; }

    /// <summary>Byte offset of the first byte that failed, or null when not known.</summary>
    public long? Offset { get; }

    /// <summary>Creates the exception; the message says what failed and where.</summary>
    public BackstoreException(BackstoreError error, string message, long? offset = null, Exception? inner = null)
        : base(message, inner)
    {
        Error = error;
        Offset = offset;
    }
}
