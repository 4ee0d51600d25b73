using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Memory that belongs to a descriptor of the program (memfd): it is mapped into this process, and so reached without the program, which may
/// end. Thread-safe.
/// </summary>
internal sealed unsafe class MemoryFiles(IUserMemory memory) : IMemoryFileSource
{
    private const int GetSeals = 1034;
    private const int ReadWrite = 3;
    private const int Shared = 1;

    /// <inheritdoc/>
    public IUserMemory Memory => memory;

    /// <summary>Maps a file of memory, whole.</summary>
    /// <returns>Whether it is one (only such files can be sealed), and not empty.</returns>
    public static bool TryMap(int descriptor, out ulong address, out ulong size)
    {
        address = 0;
        size = 0;
        if (SystemCalls.Control(descriptor, GetSeals) < 0)
        {
            return false;
        }

        byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
        byte empty = 0;
        if (SystemCalls.Stat(descriptor, &empty, stat, SystemCalls.AtEmptyPath) < 0 || *(long*)(stat + 48) <= 0)
        {
            return false;
        }

        size = *(ulong*)(stat + 48);
        nint mapped = SystemCalls.Map((nuint)size, ReadWrite, Shared, descriptor, 0);
        address = (ulong)mapped;
        return mapped > 0;
    }

    /// <inheritdoc/>
    public Errno Allocate(ulong length, out ulong address)
    {
        address = 0;
        return Errno.NotImplemented;
    }

    /// <inheritdoc/>
    public void Free(ulong address, ulong length) => _ = SystemCalls.Unmap((nint)address, (nuint)length);
}
