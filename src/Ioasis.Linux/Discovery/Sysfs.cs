using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Linux.Discovery;

/// <summary>
/// The kernel's files: <c>sys</c>, <c>proc</c> and <c>dev</c> below a root, which is <c>/</c> or a recorded tree. Nothing that
/// is missing or unreadable is an error: the kernel of another machine, a container or a recording has less.
/// </summary>
public class Sysfs
{
    private const int LongestFile = 1 << 20;

    private readonly string _root;

    /// <summary>Opens a tree.</summary>
    /// <param name="root">The folder in which <c>sys</c>, <c>proc</c> and <c>dev</c> are.</param>
    public Sysfs(string root = "/")
    {
        ArgumentException.ThrowIfNullOrEmpty(root);
        _root = Path.GetFullPath(root);
    }

    /// <summary>Whether a file, a folder or a link is there.</summary>
    public bool Exists(string path) => Path.Exists(At(path));

    /// <summary>The text of a file without white space at its ends; null if it cannot be read.</summary>
    public string? TryRead(string path)
    {
        try
        {
            using FileStream stream = new(At(path), FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            byte[] bytes = new byte[4096];
            using MemoryStream text = new();
            for (int read = stream.Read(bytes); read > 0 && text.Length < LongestFile; read = stream.Read(bytes))
            {
                text.Write(bytes, 0, read);
            }

            return Encoding.UTF8.GetString(text.GetBuffer(), 0, (int)text.Length).Trim();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The names in a folder, in order; none if it is not there.</summary>
    public IReadOnlyList<string> List(string path)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(At(path)).Select(static entry => Path.GetFileName(entry)).Order(StringComparer.Ordinal)];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>The last name of what a link leads to: a driver of <c>driver</c>, a group of <c>iommu_group</c>; null if there is no link.</summary>
    public string? TryReadLinkName(string path)
    {
        try
        {
            return new FileInfo(At(path)).LinkTarget is { } target ? Path.GetFileName(Path.TrimEndingDirectorySeparator(target)) : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Writes to a file that is there, in one write, as the kernel's attributes want it.</summary>
    /// <returns>Success, or the kernel's error.</returns>
    public virtual Errno Write(string path, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        try
        {
            using FileStream stream = new(At(path), FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
            stream.Write(Encoding.UTF8.GetBytes(text));
            return Errno.Success;
        }
        catch (UnauthorizedAccessException)
        {
            return Errno.AccessDenied;
        }
        catch (FileNotFoundException)
        {
            return Errno.NoEntry;
        }
        catch (DirectoryNotFoundException)
        {
            return Errno.NoEntry;
        }
        catch (IOException error)
        {
            // On Unix an I/O exception carries the error number of the system call.
            return Enum.IsDefined((Errno)error.HResult) ? (Errno)error.HResult : Errno.IoError;
        }
    }

    /// <summary>Where a path of the tree is on this machine.</summary>
    protected string At(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Path.Join(_root, path);
    }
}
