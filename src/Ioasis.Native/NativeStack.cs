using System.Runtime.InteropServices;
using Ioasis.Embedded.Sanitizing;

namespace Ioasis.Native;

/// <summary>From where the library's caller called: <c>backtrace(3)</c> of the C library, and <c>dladdr(3)</c> for the files.</summary>
internal static unsafe partial class NativeStack
{
    private const int MostFrames = 64;

    /// <summary>Takes the stack of this thread, from the caller of the library on; empty where the C library has no backtrace.</summary>
    public static IReadOnlyList<ProgramFrame> Take()
    {
        try
        {
            nint* addresses = stackalloc nint[MostFrames];
            int count = Backtrace(addresses, MostFrames);
            nint own = 0;
            List<ProgramFrame> frames = [];
            for (int i = 0; i < count; i++)
            {
                if (FindSymbol(addresses[i], out Symbol symbol) == 0)
                {
                    frames.Add(new((ulong)addresses[i], null, 0));
                    continue;
                }

                // The innermost frames are the library's.
                own = i == 0 ? symbol.FileStart : own;
                if (symbol.FileStart == own && frames.Count == 0)
                {
                    continue;
                }

                // The line of a call is that of the byte before the one to which it returns.
                ulong offset = (ulong)(addresses[i] - symbol.FileStart) - 1;
                frames.Add(new((ulong)addresses[i], Marshal.PtrToStringUTF8(symbol.File), offset) { Source = Marshal.PtrToStringUTF8(symbol.Name) });
            }

            return frames;
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            return [];
        }
    }

    [LibraryImport("libc", EntryPoint = "backtrace")]
    private static partial int Backtrace(nint* addresses, int count);

    [LibraryImport("libc", EntryPoint = "dladdr")]
    private static partial int FindSymbol(nint address, out Symbol symbol);

    // Dl_info of dlfcn.h.
    [StructLayout(LayoutKind.Sequential)]
    private struct Symbol
    {
        public nint File;
        public nint FileStart;
        public nint Name;
        public nint NameStart;
    }
}
