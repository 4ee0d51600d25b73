using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>
/// What the RISC-V formats have in common: entries of 8 bytes, 512 of them a table, and the bits of an entry. A format of
/// 64 bits adds how many levels it has and how far its IOVAs reach.
/// </summary>
public interface IRiscVFormat : IPageTableFormat
{
    /// <inheritdoc/>
    static int IPageTableFormat.IndexBits => 9;

    /// <inheritdoc/>
    static int IPageTableFormat.EntrySizeLog2 => 3;

    /// <inheritdoc/>
    static int IPageTableFormat.OutputBits => 56;

    /// <inheritdoc/>
    static int IPageTableFormat.ContiguousLog2 => 16;

    /// <inheritdoc/>
    static ulong IPageTableFormat.DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.Attributes(Access access, MemoryType type, ulong preset) =>
        RiscVEntry.Attributes(access, type, preset);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.EncodeLeaf(ulong address, ulong attributes) => RiscVEntry.EncodeLeaf(address, attributes);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.ToContiguous(ulong leaf) => RiscVEntry.ToContiguous(leaf);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.LeafAddress(ulong entry) => RiscVEntry.LeafAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.AttributesOf(ulong entry) => RiscVEntry.AttributesOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static bool IPageTableFormat.IsContiguous(ulong entry) => RiscVEntry.IsContiguous(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.EncodeTable(ulong address) => RiscVEntry.EncodeTable(address);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.TableAddress(ulong entry) => RiscVEntry.TableAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static bool IPageTableFormat.IsPresent(ulong entry) => RiscVEntry.IsPresent(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static bool IPageTableFormat.IsTable(ulong entry) => RiscVEntry.IsTable(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Access IPageTableFormat.AccessOf(ulong entry) => RiscVEntry.AccessOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static MemoryType IPageTableFormat.TypeOf(ulong entry) => RiscVEntry.TypeOf(entry);
}

/// <summary>
/// A first-stage format. The bits of an IOVA above its highest one must equal that one, so the aperture is the lower half of
/// what the format reaches.
/// </summary>
public interface IFirstStageFormat : IRiscVFormat
{
    /// <inheritdoc/>
    static int IPageTableFormat.RootIndexBits => 9;

    /// <inheritdoc/>
    static ulong IPageTableFormat.Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: false);
}

/// <summary>A second-stage format: guest physical addresses, zero-extended; four times the entries in a root of 16 KiB.</summary>
public interface ISecondStageFormat : IRiscVFormat
{
    /// <inheritdoc/>
    static int IPageTableFormat.RootIndexBits => 11;

    /// <inheritdoc/>
    static ulong IPageTableFormat.Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: true);
}
