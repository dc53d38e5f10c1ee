using System.Globalization;
using System.Text;

namespace LunKit.Tcmu.ConfigFs;

/// <summary>
/// A folder of configfs: making it makes an object of the kernel, its files are the object's attributes. Every error is an
/// <see cref="IOException"/> that names the file and gives the kernel's reason. Has no state; any thread.
/// </summary>
/// <param name="path">The folder, which need not exist yet.</param>
public class ConfigFolder(string path)
{
    /// <summary>Where it is.</summary>
    public string FolderPath => path;

    /// <summary>The last part of the path: the object's name.</summary>
    public string Name => Path.GetFileName(path);

    /// <summary>Whether the object is there.</summary>
    public bool Exists => Directory.Exists(path);

    /// <summary>Makes the object and those that it is in; one that is there already stays.</summary>
    public void Create()
    {
        try
        {
            Directory.CreateDirectory(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"the kernel does not make {path}: {e.Message}", e);
        }
    }

    /// <summary>Removes the object, which holds no others; one that is gone already is no error.</summary>
    public void Remove()
    {
        if (!Exists) return;
        try
        {
            // The kernel's files in it need no deleting: a plain rmdir takes them with it.
            Directory.Delete(path, recursive: false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"the kernel does not remove {path}: {e.Message}", e);
        }
    }

    /// <summary>An attribute, without the line's end.</summary>
    public string Read(string file)
    {
        try
        {
            return File.ReadAllText(Path.Combine(path, file)).TrimEnd('\n');
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"{Path.Combine(path, file)} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>An attribute that is a number.</summary>
    public long ReadNumber(string file)
    {
        string text = Read(file).Trim();
        return long.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out long value)
            ? value
            : throw new IOException($"{Path.Combine(path, file)} is '{text}', not a number");
    }

    /// <summary>Whether this kernel has an attribute.</summary>
    public bool Has(string file) => File.Exists(Path.Combine(path, file));

    /// <summary>Sets an attribute, or acts.</summary>
    public void Write(string file, string value)
    {
        string target = Path.Combine(path, file);
        try
        {
            // The kernel takes one write of the whole value, and a name that it does not know is an error, not a new file.
            using var stream = new FileStream(target, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
            stream.Write(Encoding.ASCII.GetBytes(value));
        }
        catch (Exception e) when (e is UnauthorizedAccessException || e is IOException and not (FileNotFoundException or DirectoryNotFoundException))
        {
            throw new IOException($"the kernel does not take '{value}' for {target}: {e.Message}", e);
        }
    }

    /// <summary>The folders in it that begin with <paramref name="prefix"/>, by name.</summary>
    public IReadOnlyList<string> Folders(string prefix = "") => !Exists ? []
        : [.. Directory.GetDirectories(path, prefix + "*").Where(d => !File.GetAttributes(d).HasFlag(FileAttributes.ReparsePoint)).Select(d => Path.GetFileName(d)!).Order(StringComparer.Ordinal)];

    /// <summary>Links another object into this one.</summary>
    public void Link(string name, ConfigFolder target)
    {
        string link = Path.Combine(path, name);
        try
        {
            File.CreateSymbolicLink(link, target.FolderPath);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"the kernel does not link {link} to {target.FolderPath}: {e.Message}", e);
        }
    }

    /// <summary>Takes all links out.</summary>
    public void Unlink()
    {
        foreach (var (link, _) in Links()) File.Delete(link);
    }

    /// <summary>What is linked into it: links, and where they lead.</summary>
    public IReadOnlyList<(string Link, string Target)> Links() => !Exists ? []
        : [.. new DirectoryInfo(path).EnumerateFileSystemInfos().Where(f => f.LinkTarget is not null)
            .Select(f => (f.FullName, Path.GetFullPath(Path.Combine(path, f.LinkTarget!))))];

    /// <inheritdoc/>
    public override string ToString() => path;
}
