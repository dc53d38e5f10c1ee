using System.Text;
using Tmds.DBus.Protocol;

namespace LunKit.App.Handle.Bus;

/// <summary>
/// Writes strings of any length. <see cref="MessageWriter.WriteString(string)"/> of version 0.95.2 throws for some that are longer than 1365
/// characters: it converts them piece by piece, and a character of four bytes does not fit where a buffer has three left.
/// </summary>
internal static class BusText
{
    public static void WriteText(this ref MessageWriter writer, string text) => writer.WriteString(Encoding.UTF8.GetBytes(text));

    /// <summary>A variant that is a string.</summary>
    public static void WriteVariantText(this ref MessageWriter writer, string text)
    {
        writer.WriteSignature("s"u8);
        writer.WriteText(text);
    }
}
