using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Qemu;

/// <summary>
/// A range of addresses that the device reaches: a part of the file that its process has too, and beside it what both sides have in common. A word of the file
/// that differs was written by the device. Not thread-safe, but the device may write at any time.
/// </summary>
internal sealed unsafe class MirrorWindow : IDisposable
{
    /// <summary>Bytes of a page.</summary>
    public const int PageSize = 4096;

    private readonly MappedFile _file;
    private readonly ulong[] _common;

    private MirrorWindow(ulong start, int pages, MappedFile file)
    {
        Start = start;
        _file = file;
        _common = new ulong[pages * (PageSize / sizeof(ulong))];
        Pages = new MirrorPage[pages];
    }

    /// <summary>The first address.</summary>
    public ulong Start { get; }

    /// <summary>What is known of each page.</summary>
    public MirrorPage[] Pages { get; }

    /// <summary>Bytes.</summary>
    public ulong Length => (ulong)Pages.Length * PageSize;

    /// <summary>Makes one on the part of a file that is at its addresses.</summary>
    public static Errno TryCreate(SafeFileHandle file, ulong start, int pages, out MirrorWindow? made)
    {
        Errno error = MappedFile.TryMap(file, start, (ulong)pages * PageSize, DmaMapFlags.All, out MappedFile? mapped);
        made = error == Errno.Success ? new(start, pages, mapped!) : null;
        return error;
    }

    /// <summary>What both sides have in common of a page.</summary>
    public Span<ulong> CommonOf(int page) => _common.AsSpan(page * (PageSize / sizeof(ulong)), PageSize / sizeof(ulong));

    /// <summary>The words of a page as the device has them.</summary>
    public Span<ulong> MirrorOf(int page) => new((ulong*)(_file.Address + ((ulong)page * PageSize)), PageSize / sizeof(ulong));

    /// <summary>The bytes of a range as the device has them; empty if it is not within.</summary>
    public ReadOnlySpan<byte> TryGetBytes(ulong address, int length) =>
        address >= Start && (ulong)length <= Length && address - Start <= Length - (ulong)length
            ? new((void*)(_file.Address + (address - Start)), length)
            : [];

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}

/// <summary>A page of a window.</summary>
/// <param name="Address">Where the machine's IOMMU leads its accesses.</param>
/// <param name="Access">What it allows.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct MirrorPage(PhysicalAddress Address, Access Access);
