using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>
/// Memory of the caller, by address: nothing of it is touched before the system has said that it is there, for a wild pointer is
/// an error of the call and not the end of the program. The stack of the calling thread needs no question.
/// </summary>
internal static unsafe partial class CallerMemory
{
    /// <summary>As much as one system call transfers (Linux: MAX_RW_COUNT).</summary>
    public const int Most = 0x7fff_f000;

    private const nuint PageSize = 4096;
    private const nuint PageMask = PageSize - 1;

    [ThreadStatic]
    private static nuint t_stackEnd;

    // What a question to the system finds waiters on: nobody's.
    private static readonly int* s_word = (int*)NativeMemory.AllocZeroed(sizeof(int));

    /// <summary>Counts the bytes from an address on that can be read, or read and written, up to a length.</summary>
    public static nuint CountAccessible(nint address, nuint length, bool writable)
    {
        nuint start = (nuint)address;
        if (length == 0 || start == 0 || start > nuint.MaxValue - length)
        {
            return 0;
        }

        byte here;
        if (start >= (nuint)(&here) && start + length <= StackEnd())
        {
            return length;
        }

        for (nuint at = start; ; at = (at & ~PageMask) + PageSize)
        {
            if (at >= start + length)
            {
                return length;
            }

            if (!(writable ? IsWritable(at) : IsReadable(at)))
            {
                return at - start;
            }
        }
    }

    /// <summary>Reads a string.</summary>
    /// <param name="address">Where it is.</param>
    /// <param name="limit">Bytes that it may have.</param>
    /// <param name="text">The string.</param>
    /// <returns>Success; <see cref="Errno.BadAddress"/>; <see cref="Errno.NameTooLong"/> if there is no zero within the limit.</returns>
    public static Errno ReadText(nint address, int limit, out string text)
    {
        text = "";
        int length = (int)CountAccessible(address, (nuint)limit, writable: false);
        ReadOnlySpan<byte> bytes = new((void*)address, length);
        int end = bytes.IndexOf((byte)0);
        if (end < 0)
        {
            return length < limit ? Errno.BadAddress : Errno.NameTooLong;
        }

        text = System.Text.Encoding.UTF8.GetString(bytes[..end]);
        return Errno.Success;
    }

    private static nuint StackEnd()
    {
        if (t_stackEnd == 0)
        {
            t_stackEnd = FindStackEnd();
        }

        return t_stackEnd;
    }

    private static nuint FindStackEnd()
    {
        // pthread_attr_t has 56 bytes (64 on 64-bit Arm).
        byte* attributes = stackalloc byte[128];
        if (GetAttributes(Self(), attributes) != 0)
        {
            return 1;
        }

        nuint start = 0;
        nuint length = 0;
        int error = GetStack(attributes, &start, &length);
        _ = Destroy(attributes);
        return error == 0 ? start + length : 1;
    }

    // A futex operation that adds 0 to a word and wakes nobody: the system says whether it can be read and written, and nothing changes.
    private static bool IsWritable(nuint address)
    {
        const int WakeOperation = 5;
        const int Private = 128;
        const int AddZero = 1 << 28;
        return SystemCall(Numbers.Futex, (nint)s_word, WakeOperation | Private, 0, 0, (nint)(address & ~(nuint)3), AddZero) >= 0
            || Marshal.GetLastSystemError() != (int)Errno.BadAddress;
    }

    // A signal mask to set, by a way of setting that there is not: read, and refused.
    private static bool IsReadable(nuint address) =>
        SystemCall(Numbers.SignalMask, -1, (nint)(address & ~(nuint)7), 0, 8, 0, 0) >= 0
            || Marshal.GetLastSystemError() != (int)Errno.BadAddress;

    private static class Numbers
    {
        public static readonly nint Futex = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 202 : 98;
        public static readonly nint SignalMask = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 14 : 135;
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    [SuppressGCTransition]
    private static partial nint SystemCall(nint number, nint first, nint second, nint third, nint fourth, nint fifth, nint sixth);

    [LibraryImport("libc", EntryPoint = "pthread_self")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Self();

    [LibraryImport("libc", EntryPoint = "pthread_getattr_np")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int GetAttributes(nint thread, byte* attributes);

    [LibraryImport("libc", EntryPoint = "pthread_attr_getstack")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int GetStack(byte* attributes, nuint* start, nuint* length);

    [LibraryImport("libc", EntryPoint = "pthread_attr_destroy")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Destroy(byte* attributes);
}
