namespace LunKit.App.Serve;

/// <summary>Something the operator can mend: printed in one line, ends the command with <see cref="ExitCode"/>.</summary>
internal sealed class UserException(string message, int exitCode = 1, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>1: it could not be done; 2: it was asked for in the wrong words.</summary>
    public int ExitCode { get; } = exitCode;
}
