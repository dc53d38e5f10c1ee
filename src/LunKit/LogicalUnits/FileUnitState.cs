using System.Text.Json;
using System.Text.Json.Serialization;
using LunKit.Backstores;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.LogicalUnits;

/// <summary>
/// Unit state in a JSON file, e.g. beside the image. A save writes a new file, makes it durable and renames it over the old one: after a
/// power loss the old state or the new one is there, never half of either.
/// </summary>
public sealed class FileUnitState : IUnitStateStore, IDisposable
{
    /// <summary>Suffix of the state file of an image.</summary>
    public const string Suffix = ".lunkit-state";

    // What .NET says, as the HResult, when its lock for FileShare.None (flock) is taken.
    private const int WouldBlock = 11;

    private readonly string _path;
    private readonly Guid? _newId;
    private readonly Action<string> _flushFolder;
    private SafeFileHandle? _lock;

    /// <summary>State that no other process uses, which the caller has seen to, e.g. because its image is locked.</summary>
    /// <param name="path">The file.</param>
    /// <param name="newId">Identity of a unit that has no state yet; null for a new one.</param>
    public FileUnitState(string path, Guid? newId = null) : this(path, newId, static folder =>
    {
        if (OperatingSystem.IsLinux()) FileDescriptor.FlushDirectory(folder);
    })
    {
    }

    /// <summary>The same with another way to make a rename durable: a test has one that fails.</summary>
    internal FileUnitState(string path, Guid? newId, Action<string> flushFolder) => (_path, _newId, _flushFolder) = (path, newId, flushFolder);

    /// <inheritdoc/>
    public bool IsDurable => true;

    /// <summary>
    /// State that no other process, and no other unit of this one, can use until this is disposed: an advisory lock on a file beside it. Throws
    /// <see cref="BackstoreException"/> with <see cref="BackstoreError.InUse"/> when one does, <see cref="IOException"/> or
    /// <see cref="UnauthorizedAccessException"/> when the folder does not take files.
    /// </summary>
    public static FileUnitState Lock(string path, Guid? newId = null)
    {
        var state = new FileUnitState(path, newId);
        try
        {
            state._lock = File.OpenHandle(path + ".lock", FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            return state;
        }
        catch (IOException e) when (e.HResult == WouldBlock)
        {
            throw InUse(path, e);
        }
    }

    private static BackstoreException InUse(string path, Exception inner) => new(BackstoreError.InUse,
        $"{path} keeps the state of a unit that is served already; serve the device once, or give this one a state=FILE of its own", null, inner);

    /// <summary>Whether there is a state file. Throws <see cref="BackstoreException"/> when that cannot be told.</summary>
    public static bool Exists(string path) => Read(path) is not null;

    /// <inheritdoc/>
    public UnitState Load()
    {
        if (Read(_path) is not { } bytes) return new UnitState { Id = _newId ?? Guid.NewGuid() };
        try
        {
            return JsonSerializer.Deserialize(bytes, UnitStateJson.Default.UnitState) ?? throw new JsonException("the file is empty");
        }
        catch (JsonException e)
        {
            throw Unreadable(_path, $"is not a unit state file (not JSON from line {(e.LineNumber ?? 0) + 1}, byte {(e.BytePositionInLine ?? 0) + 1} on)", e);
        }
    }

    /// <summary>The bytes of the file; null only when there is none, not when it is out of reach.</summary>
    private static byte[]? Read(string path)
    {
        try
        {
            return File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, $"cannot be read ({(Directory.Exists(path) ? "it is a folder" : FileErrors.Why(e))})", e);
        }
    }

    // Starting with a fresh identity would look like another disk to every initiator, and drop reservations: the operator decides.
    private static BackstoreException Unreadable(string path, string why, Exception e) =>
        new(BackstoreError.Internal, $"{path} {why}; restore it, or delete it to give the disk a new identity", null, e);

    /// <inheritdoc/>
    public void Save(UnitState state)
    {
        byte[]? before = Read(_path);
        Replace(JsonSerializer.SerializeToUtf8Bytes(state, UnitStateJson.Default.UnitState));
        try
        {
            _flushFolder(Path.GetDirectoryName(Path.GetFullPath(_path))!);
        }
        catch
        {
            // The change is refused, and must not be what the next start finds.
            TakeBack(before);
            throw;
        }
    }

    private void Replace(byte[] bytes)
    {
        string temporary = _path + ".tmp";
        using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
        {
            file.Write(bytes);
            file.Flush(flushToDisk: true);
        }
        File.Move(temporary, _path, overwrite: true);
    }

    private void TakeBack(byte[]? before)
    {
        try
        {
            if (before is null) File.Delete(_path);
            else Replace(before);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The folder does not even take the old one; whoever asked for the change is told of the first failure.
        }
    }

    /// <summary>Lets others use the file.</summary>
    public void Dispose() => Interlocked.Exchange(ref _lock, null)?.Dispose();
}

[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(UnitState))]
internal sealed partial class UnitStateJson : JsonSerializerContext;
