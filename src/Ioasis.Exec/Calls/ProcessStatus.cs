using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// <c>/proc/PID/status</c> of a process that has memory pinned: the machine's, with what our kernel has pinned added to VmLck (what the process
/// pays for) and VmPin.
/// </summary>
internal static partial class ProcessStatus
{
    /// <summary>Opens the file that a path names, if it is one of these.</summary>
    /// <param name="caller">Who opens it.</param>
    /// <param name="path">The path, without parts that mean nothing.</param>
    /// <param name="flags">Flags of open.</param>
    public static Answer Open(in Caller caller, ReadOnlySpan<byte> path, ulong flags)
    {
        ReadOnlySpan<byte> before = "/proc/"u8;
        ReadOnlySpan<byte> after = "/status"u8;
        if (!path.StartsWith(before) || !path.EndsWith(after) || path.Length <= before.Length + after.Length)
        {
            return Answer.Continue;
        }

        ReadOnlySpan<byte> who = path[before.Length..^after.Length];
        ProgramProcess? process = who.SequenceEqual("self"u8) || who.SequenceEqual("thread-self"u8)
            ? caller.Processes.FindKnown(caller.Thread)
            : Utf8Parser.TryParse(who, out int id, out int used) && used == who.Length
            ? caller.Processes.All.FirstOrDefault(found => found.Id == id)
            : null;
        if (process is null || process.Kernel.AllPinnedBytes + process.Kernel.PinnedBytes == 0)
        {
            return Answer.Continue;
        }

        string text;
        try
        {
            text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{process.Id}/status"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Answer.Continue;
        }

        text = Pins().Replace(text, line => string.Create(
            CultureInfo.InvariantCulture, $"{line.Groups["name"].ValueSpan}\t{Add(line, process),8} kB"));
        nint file = SystemCalls.Open(
            "/dev/shm", SystemCalls.OpenTemporary | SystemCalls.OpenReadWrite | SystemCalls.OpenCloseOnExec, 0x100);
        if (file < 0)
        {
            return Answer.Continue;
        }

        byte[] bytes = Encoding.UTF8.GetBytes(text);
        if (SystemCalls.WriteAt((int)file, bytes, 0) != bytes.Length)
        {
            _ = SystemCalls.Close((int)file);
            return Answer.Continue;
        }

        return Answer.Of(caller.Give((int)file, (flags & SystemCalls.OpenCloseOnExec) != 0));
    }

    private static long Add(Match line, ProgramProcess process)
    {
        const int Kibibyte = 1024;
        long ours = line.Groups["name"].ValueSpan.SequenceEqual("VmLck:") ? process.Kernel.PinnedBytes : process.Kernel.AllPinnedBytes;
        return long.Parse(line.Groups["value"].ValueSpan, CultureInfo.InvariantCulture) + (ours / Kibibyte);
    }

    [GeneratedRegex(@"^(?<name>VmLck:|VmPin:)\s*(?<value>[0-9]+) kB", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Pins();
}
