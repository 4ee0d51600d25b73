using System.Globalization;
using Ioasis.Linux;
using Ioasis.Linux.Discovery;
using Ioasis.Primitives;

namespace Ioasis.Recorder;

/// <summary>
/// The kernel's files as the recorder uses them: those of <see cref="Sysfs"/>, folders of tracefs that are made and removed,
/// and its pipe. Everything that the recorder changes on a machine goes through <see cref="Sysfs.Write"/>,
/// <see cref="MakeFolder"/> and <see cref="RemoveFolder"/>.
/// </summary>
/// <param name="root">The folder in which <c>sys</c> and <c>proc</c> are.</param>
internal class TracingFiles(string root = "/") : Sysfs(root)
{
    /// <summary>Whether this process may trace: its effective user is root.</summary>
    public virtual bool IsRoot => Environment.IsPrivilegedProcess;

    /// <summary>The machine's architecture as Linux names it.</summary>
    public virtual string Architecture => Machine.Architecture();

    /// <summary>Makes one folder; in tracefs that is an instance.</summary>
    /// <returns>Success, or the kernel's error; <see cref="Errno.Exists"/> if it is there.</returns>
    public virtual Errno MakeFolder(string path) => LibC.Result(LibC.MakeFolder(At(path), 0x1f8));

    /// <summary>Removes one folder; in tracefs that is an instance with all that it holds.</summary>
    /// <returns>Success, or the kernel's error; <see cref="Errno.Busy"/> while somebody reads from it.</returns>
    public virtual Errno RemoveFolder(string path) => LibC.Result(LibC.RemoveFolder(At(path)));

    /// <summary>Opens a pipe of events for reading.</summary>
    /// <param name="path">An instance's <c>trace_pipe</c>.</param>
    /// <param name="pipe">The pipe, if it was opened.</param>
    /// <returns>Success, or the kernel's error.</returns>
    public virtual Errno OpenPipe(string path, out ITracePipe? pipe)
    {
        Errno error = TracePipe.Open(At(path), out TracePipe? opened);
        pipe = opened;
        return error;
    }

    /// <summary>The lines of a file of any length; none if it cannot be read.</summary>
    public virtual IEnumerable<string> Lines(string path)
    {
        StreamReader? reader = null;
        try
        {
            reader = new(new FileStream(At(path), FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1 << 16));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            yield break;
        }

        using (reader)
        {
            while (NextLine(reader) is { } line)
            {
                yield return line;
            }
        }
    }

    /// <summary>When a process began, in ticks after boot, which with its number names it for ever; null if there is none.</summary>
    public long? StartOfProcess(int process)
    {
        // proc(5): the name in parentheses may hold anything; the start is the 22nd field, the 20th after it.
        string? stat = TryRead(string.Create(CultureInfo.InvariantCulture, $"proc/{process}/stat"));
        string[] fields = stat is null ? [] : stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length > 19 && long.TryParse(fields[19], NumberStyles.None, CultureInfo.InvariantCulture, out long start) ? start : null;
    }

    private static string? NextLine(StreamReader reader)
    {
        try
        {
            return reader.ReadLine();
        }
        catch (IOException)
        {
            return null;
        }
    }
}
