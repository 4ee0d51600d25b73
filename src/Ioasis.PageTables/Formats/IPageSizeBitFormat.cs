using System.Runtime.CompilerServices;

namespace Ioasis.PageTables.Formats;

/// <summary>
/// What x86-64's tables and VT-d's second stage have in common: 512 entries of 8 bytes on each level, an address in 51:12, and bit 7,
/// which says of an entry of level 1 or 2 that it is a leaf.
/// </summary>
internal interface IPageSizeBitFormat : IPageTableFormat
{
    /// <summary>The bit of a leaf of a level above 0.</summary>
    protected const ulong PageSize = 1 << 7;

    private const ulong AddressMask = 0x000f_ffff_ffff_f000;

    /// <inheritdoc/>
    static int IPageTableFormat.IndexBits => 9;

    /// <inheritdoc/>
    static int IPageTableFormat.RootIndexBits => 9;

    /// <inheritdoc/>
    static int IPageTableFormat.EntrySizeLog2 => 3;

    /// <inheritdoc/>
    static int IPageTableFormat.OutputBits => 52;

    /// <inheritdoc/>
    static bool IPageTableFormat.CanBeLeaf(int level) => level <= 2;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.EncodeLeaf(ulong address, ulong attributes, int level) =>
        address | attributes | (level > 0 ? PageSize : 0);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.LeafAddress(ulong entry, int level) => entry & AddressMask;

    /// <inheritdoc/>
    static ulong IPageTableFormat.AttributesOf(ulong entry, int level) => entry & ~(AddressMask | PageSize);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.TableAddress(ulong entry, int level) => entry & AddressMask;
}
