using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Devices;

/// <summary>
/// Pages of this process that clients map: behind a base address register with plain memory, or with registers that the device
/// looks at. On Linux they are a memory file of a size that nobody can change, so that another process can map them too. They go
/// when nothing refers to the device any more: neither a machine nor a descriptor nor a mapping.
/// </summary>
internal sealed unsafe partial class SharedPages
{
    private const ulong PageSize = 4096;
    private const ulong LeastToPunch = 1 << 20;
    private const int ReadWrite = 3;
    private const int Shared = 1;
    private const int AdviseRemove = 9;
    private const uint CloseOnExecAndSealing = 3;
    private const int AddSeals = 1033;
    private const int SealAllSizes = 7;

    private readonly Block _block;

    private SharedPages(Block block, ulong size, SafeFileHandle? file)
    {
        _block = block;
        Size = size;
        File = file;
    }

    /// <summary>Bytes.</summary>
    public ulong Size { get; }

    /// <summary>The memory file; null where there is none.</summary>
    public SafeFileHandle? File { get; }

    /// <summary>Where it is: page-aligned.</summary>
    public nint Address => _block.DangerousGetHandle();

    /// <summary>Makes zeroed pages. A page costs memory from its first write on.</summary>
    /// <exception cref="OutOfMemoryException">There is no address space for them.</exception>
    public static SharedPages Create(ulong size)
    {
        ulong length = (size + (PageSize - 1)) & ~(PageSize - 1);
        if (OperatingSystem.IsLinux())
        {
            SafeFileHandle file = CreateMemoryFile("ioasis-bar", CloseOnExecAndSealing);
            if (!file.IsInvalid && Truncate(file, (long)length) == 0 && Control(file, AddSeals, SealAllSizes) == 0)
            {
                nint address = MapPages(0, (nuint)length, ReadWrite, Shared, file, 0);
                if (address != -1)
                {
                    return new(new MappedBlock(address, (nuint)length), size, file);
                }
            }

            file.Dispose();
        }

        void* block = NativeMemory.AlignedAlloc((nuint)length, (nuint)PageSize);
        NativeMemory.Clear(block, (nuint)length);
        return new(new AllocatedBlock((nint)block), size, null);
    }

    /// <summary>A part of it.</summary>
    public Span<byte> Slice(ulong offset, int length) =>
        offset <= Size && (ulong)length <= Size - offset
            ? new((void*)(Address + (nint)offset), length)
            : throw new ArgumentOutOfRangeException(nameof(offset));

    /// <summary>Clears it.</summary>
    public void Clear() => Clear(0, Size);

    /// <summary>Clears a part of it. Whole pages are given back where that can be.</summary>
    public void Clear(ulong offset, ulong length)
    {
        if (offset > Size || length > Size - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset));
        }

        ulong first = (offset + (PageSize - 1)) & ~(PageSize - 1);
        ulong end = (offset + length) & ~(PageSize - 1);
        if (length < LeastToPunch || File is null || MemoryAdvise(Address + (nint)first, (nuint)(end - first), AdviseRemove) != 0)
        {
            NativeMemory.Clear((void*)(Address + (nint)offset), (nuint)length);
            return;
        }

        NativeMemory.Clear((void*)(Address + (nint)offset), (nuint)(first - offset));
        NativeMemory.Clear((void*)(Address + (nint)end), (nuint)(offset + length - end));
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle CreateMemoryFile(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Truncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "fcntl")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Control(SafeFileHandle file, int command, int argument);

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint MapPages(nint address, nuint length, int protection, int flags, SafeFileHandle file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int UnmapPages(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int MemoryAdvise(nint address, nuint length, int advice);

    private abstract class Block(nint address) : SafeHandle(address, true)
    {
        public override bool IsInvalid => handle == 0;
    }

    private sealed class MappedBlock(nint address, nuint length) : Block(address)
    {
        protected override bool ReleaseHandle() => UnmapPages(handle, length) == 0;
    }

    private sealed class AllocatedBlock(nint address) : Block(address)
    {
        protected override bool ReleaseHandle()
        {
            NativeMemory.AlignedFree((void*)handle);
            return true;
        }
    }
}
