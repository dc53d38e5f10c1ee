using System.Text.Json;
using System.Text.Json.Serialization;
using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.LogicalUnits;

/// <summary>
/// Unit state in a JSON file beside the image. A save writes a new file, makes it durable and renames it over the old one: after a
/// power loss the old state or the new one is there, never half of either.
/// </summary>
public sealed class FileUnitState(string path) : IUnitStateStore
{
    /// <summary>Suffix of the state file of an image.</summary>
    public const string Suffix = ".lunkit-state";

    /// <inheritdoc/>
    public bool IsDurable => true;

    /// <inheritdoc/>
    public UnitState Load()
    {
        if (!File.Exists(path)) return new UnitState { Id = Guid.NewGuid() };
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(path), UnitStateJson.Default.UnitState)
                ?? throw new JsonException("the file is empty");
        }
        catch (Exception e) when (e is JsonException or UnauthorizedAccessException)
        {
            // Starting with a fresh identity would look like another disk to every initiator: the operator decides.
            throw new BackstoreException(BackstoreError.Internal,
                $"{path} is not a unit state file ({e.Message}); restore it, or delete it to give the disk a new identity", null, e);
        }
    }

    /// <inheritdoc/>
    public void Save(UnitState state)
    {
        string temporary = path + ".tmp";
        using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
        {
            JsonSerializer.Serialize(file, state, UnitStateJson.Default.UnitState);
            file.Flush(flushToDisk: true);
        }
        File.Move(temporary, path, overwrite: true);
        if (OperatingSystem.IsLinux()) FileDescriptor.FlushDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }
}

[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(UnitState))]
internal sealed partial class UnitStateJson : JsonSerializerContext;
