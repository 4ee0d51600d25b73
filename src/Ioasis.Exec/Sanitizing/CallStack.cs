using Ioasis.Embedded.Sanitizing;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Ioasis.Exec.Sanitizing;

/// <summary>
/// From where a thread calls that waits in a system call. Programs are built without frame pointers, so each word of the stack is looked at: one that points behind a call
/// instruction is a return address, or was one.
/// </summary>
internal static class CallStack
{
    private const int MostFrames = 8;

    // Between a method of .NET and a system call lie frames of the runtime and its libraries.
    private const int MostManagedFrames = 24;
    private const int StackWords = 1024;
    private const int LongestCall = 7;

    /// <summary>Takes the stack of a thread.</summary>
    /// <param name="thread">The thread.</param>
    /// <param name="modules">Gets the files that the process has mapped, assemblies of .NET among them.</param>
    /// <returns>The frames, the innermost first; empty where they cannot be had.</returns>
    public static IReadOnlyList<ProgramFrame> Take(int thread, HashSet<string> modules)
    {
        try
        {
            string folder = string.Create(CultureInfo.InvariantCulture, $"/proc/{thread}/");

            // Number and arguments of the call, then the stack pointer and the instruction.
            string[] words = File.ReadAllText(folder + "syscall").Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length < 3 || !TryParse(words[^2], out ulong stack) || !TryParse(words[^1].Trim(), out ulong instruction))
            {
                return [];
            }

            string[] lines = File.ReadAllLines(folder + "maps");
            lock (modules)
            {
                modules.UnionWith(lines.Where(static line => line.EndsWith(".dll", StringComparison.Ordinal)).Select(static line => line[line.IndexOf('/', StringComparison.Ordinal)..]));
            }

            return Take(thread, stack, instruction, [.. lines.Select(Region.Parse).OfType<Region>()]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>The process of a thread, as others know it; the thread itself where that cannot be told.</summary>
    public static int ThreadGroupOf(int thread)
    {
        try
        {
            string? line = File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{thread}/status"))
                .FirstOrDefault(static line => line.StartsWith("Tgid:", StringComparison.Ordinal));
            return int.TryParse(line.AsSpan("Tgid:".Length), NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out int group) ? group : thread;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentOutOfRangeException)
        {
            return thread;
        }
    }

    private static List<ProgramFrame> Take(int thread, ulong stack, ulong instruction, Region[] regions)
    {
        List<ProgramFrame> frames = [];
        if (Find(regions, instruction) is { } at)
        {
            frames.Add(at.FrameOf(instruction));
        }

        ulong[] buffer = new ulong[StackWords];
        nint count = SystemCalls.ReadProcess(thread, stack, MemoryMarshal.AsBytes(buffer.AsSpan()));
        Span<byte> before = stackalloc byte[LongestCall];
        int most = MostFrames;
        for (int i = 0; i < count / sizeof(ulong) && frames.Count < most; i++)
        {
            ulong address = buffer[i];
            if (Find(regions, address) is { } region && address >= region.Start + LongestCall
                && SystemCalls.ReadProcess(thread, address - LongestCall, before) == LongestCall && EndsWithCall(before))
            {
                // The line of a call is that of the byte before the one to which it returns.
                frames.Add(region.FrameOf(address - 1));
                most = SourceLines.IsCompiledAtRunTime(region.Module) ? MostManagedFrames : most;
            }
        }

        return frames;
    }

    // A relative call, or an indirect one by a register or memory with its displacement (Intel SDM, volume 2, CALL).
    private static bool EndsWithCall(ReadOnlySpan<byte> bytes)
    {
        if (bytes[^5] == 0xe8)
        {
            return true;
        }

        foreach (int length in (ReadOnlySpan<int>)[2, 3, 4, 6, 7])
        {
            if (bytes[^length] == 0xff && (bytes[^(length - 1)] & 0x38) == 0x10)
            {
                return true;
            }
        }

        return false;
    }

    private static Region? Find(Region[] regions, ulong address) => Array.Find(regions, region => address >= region.Start && address < region.End);

    /// <summary>Reads a number of base 16, with <c>0x</c> before it or without.</summary>
    public static bool TryParse(string text, out ulong value) =>
        ulong.TryParse(text.StartsWith("0x", StringComparison.Ordinal) ? text.AsSpan(2) : text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);

    /// <summary>Memory with instructions of a file.</summary>
    private sealed record Region(ulong Start, ulong End, ulong FileOffset, string? Module)
    {
        // Their symbols are at the addresses where they are mapped (ET_EXEC).
        private static readonly Dictionary<string, bool> s_fixed = new(StringComparer.Ordinal);

        public static Region? Parse(string line)
        {
            string[] words = line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries);
            string[] range = words[0].Split('-');
            return words.Length >= 5 && words[1].Length >= 3 && words[1][2] == 'x' && range.Length == 2
                && TryParse(range[0], out ulong start) && TryParse(range[1], out ulong end) && TryParse(words[2], out ulong offset)
                ? new(start, end, offset, words.Length == 6 && words[5].StartsWith('/') ? words[5].Trim() : null)
                : null;
        }

        public ProgramFrame FrameOf(ulong address) =>
            new(address, Module, Module is not null && IsFixed(Module) ? address : address - Start + FileOffset);

        private static bool IsFixed(string module)
        {
            lock (s_fixed)
            {
                if (!s_fixed.TryGetValue(module, out bool isFixed))
                {
                    s_fixed[module] = isFixed = ReadIsFixed(module);
                }

                return isFixed;
            }
        }

        private static bool ReadIsFixed(string module)
        {
            const int TypeOffset = 16;
            const int Executable = 2;
            try
            {
                using FileStream file = File.OpenRead(module);
                Span<byte> header = stackalloc byte[TypeOffset + 2];
                return file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) == header.Length && header[TypeOffset] == Executable;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return false;
            }
        }
    }
}
