using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;

namespace LunKit.Diagnostics;

/// <summary>
/// Loads at the start what the runtime loads at first use. That opens files: a process that has run out of descriptors by then would fail in
/// any line that is the first to use something, and for good where a type could not be initialized.
/// </summary>
internal static class Preloading
{
    private static readonly Lock s_gate = new();
    private static readonly HashSet<string> s_loaded = [];

    /// <summary>
    /// Loads an assembly with all that it refers to, and the system's cryptography. Each assembly keeps two descriptors, some two hundred together.
    /// </summary>
    /// <exception cref="IOException">There are too few descriptors for that.</exception>
    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "What was trimmed away is not used.")]
    public static void Load(Assembly root)
    {
        lock (s_gate)
        {
            // Native code is all there from the start.
            if (RuntimeFeature.IsDynamicCodeSupported) LoadReferences(root);
            RequireDescriptor();
            // The native library behind it.
            if (s_loaded.Add("cryptography")) _ = SHA256.HashData(RandomNumberGenerator.GetBytes(1));
        }
    }

    private static void RequireDescriptor()
    {
        try
        {
            File.OpenHandle("/dev/null").Dispose();
        }
        catch (IOException e)
        {
            throw new IOException("too few files may be open for the program alone: raise the limit (ulimit -n), best to 4096 or more", e);
        }
    }

    [RequiresUnreferencedCode("looks at references")]
    private static void LoadReferences(Assembly assembly)
    {
        foreach (var name in assembly.GetReferencedAssemblies())
        {
            if (!s_loaded.Add(name.FullName)) continue;
            try
            {
                LoadReferences(Assembly.Load(name));
            }
            catch (Exception e) when (e is IOException or BadImageFormatException)
            {
                // What is missing now is missed when it is used, or never.
            }
        }
    }
}
