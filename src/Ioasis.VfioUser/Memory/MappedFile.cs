using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>A part of a file of the other end in this process's memory. The file may become shorter: then accesses are faults that must be caught.</summary>
internal sealed unsafe partial class MappedFile : SafeHandle
{
    private const int ProtectRead = 1;
    private const int ProtectWrite = 2;
    private const int SharedWithoutReserve = 0x4001;

    private readonly nuint _length;

    private MappedFile(nint address, nuint length)
        : base(-1, ownsHandle: true)
    {
        _length = length;
        SetHandle(address);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == -1;

    /// <summary>Where it begins.</summary>
    public ulong Address => (ulong)handle;

    /// <summary>Maps a part of a file, shared.</summary>
    /// <param name="file">The file; it may be closed afterwards.</param>
    /// <param name="offset">Where the part begins, a multiple of the page size.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="flags">What will be done with it; reading is always possible.</param>
    /// <param name="made">The part.</param>
    /// <returns>Success, or the system's error.</returns>
    public static Errno TryMap(SafeFileHandle file, ulong offset, ulong length, DmaMapFlags flags, out MappedFile? made)
    {
        made = null;
        if (offset > long.MaxValue || length > long.MaxValue)
        {
            return Errno.InvalidArgument;
        }

        int protection = ProtectRead | ((flags & DmaMapFlags.Write) != 0 ? ProtectWrite : 0);
        nint address = Map(0, (nuint)length, protection, SharedWithoutReserve, file, (long)offset);
        if (address == -1)
        {
            return (Errno)Marshal.GetLastPInvokeError();
        }

        made = new(address, (nuint)length);
        return Errno.Success;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Unmap(handle, _length) == 0;

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Map(nint address, nuint length, int protection, int flags, SafeFileHandle file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(nint address, nuint length);
}
