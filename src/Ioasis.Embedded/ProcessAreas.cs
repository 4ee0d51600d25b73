using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Embedded;

/// <summary>
/// What the system knows of this process's memory, area by area: one query (<c>PROCMAP_QUERY</c> of <c>/proc/self/maps</c>,
/// from Linux 6.11 on) answers for a gibibyte as fast as for a page. Thread-safe.
/// </summary>
internal sealed unsafe partial class ProcessAreas
{
    // _IOWR('f', 17, 104 bytes).
    private const uint Query = 0xc068_6611;
    private const ulong Readable = 1;
    private const ulong Writable = 2;
    private const ulong Shared = 8;

    private readonly SafeFileHandle? _maps;

    private ProcessAreas()
    {
        try
        {
            _maps = File.OpenHandle("/proc/self/maps");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without it every page is asked for by itself.
        }
    }

    /// <summary>The one of this process.</summary>
    public static ProcessAreas Instance { get; } = new();

    /// <summary>Finds the private anonymous area around an address, which allows an access.</summary>
    /// <param name="address">Any.</param>
    /// <param name="writable">Whether it must be writable; it must be readable anyway.</param>
    /// <param name="end">The byte after the area.</param>
    /// <returns>Whether there is such an area; no says nothing about other kinds.</returns>
    public bool TryFindAnonymous(ulong address, bool writable, out ulong end)
    {
        AreaQuery query = new() { Size = (ulong)sizeof(AreaQuery), Address = address };
        bool found = _maps is { } maps && Ioctl(maps, Query, &query) == 0;
        ulong needed = Readable | (writable ? Writable : 0);
        end = query.End;
        return found
            && query.Start <= address
            && end > address
            && query.Inode == 0
            && (query.Flags & (needed | Shared)) == needed;
    }

    [LibraryImport("libc", EntryPoint = "ioctl")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Ioctl(SafeFileHandle descriptor, nuint request, AreaQuery* argument);

    // struct procmap_query.
    [StructLayout(LayoutKind.Explicit, Size = 104)]
    private struct AreaQuery
    {
        [FieldOffset(0)] public ulong Size;
        [FieldOffset(16)] public ulong Address;
        [FieldOffset(24)] public ulong Start;
        [FieldOffset(32)] public ulong End;
        [FieldOffset(40)] public ulong Flags;
        [FieldOffset(64)] public ulong Inode;
    }
}
