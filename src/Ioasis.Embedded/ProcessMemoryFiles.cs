using System.Runtime.InteropServices;
using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>Memory files of a platform whose client is this process: anonymous pages of it.</summary>
internal sealed unsafe partial class ProcessMemoryFiles(ProcessUserMemory memory) : IMemoryFileSource
{
    private const int ReadWrite = 3;
    private const int SharedAnonymous = 0x21;

    /// <inheritdoc/>
    public IUserMemory Memory => memory;

    /// <inheritdoc/>
    public Errno Allocate(ulong length, out ulong address)
    {
        nint mapped = MapPages(0, (nuint)length, ReadWrite, SharedAnonymous, -1, 0);
        address = mapped == -1 ? 0 : (ulong)mapped;
        return mapped == -1 ? Errno.OutOfMemory : Errno.Success;
    }

    /// <inheritdoc/>
    public void Free(ulong address, ulong length) => _ = UnmapPages((nint)address, (nuint)length);

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint MapPages(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int UnmapPages(nint address, nuint length);
}
