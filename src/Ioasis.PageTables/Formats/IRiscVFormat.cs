using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Formats;

/// <summary>
/// What the RISC-V formats have in common: entries of 8 bytes, 512 of them a table, leaves on every level, and the bits of an
/// entry. A format of 64 bits adds how many levels it has and how far its IOVAs reach.
/// </summary>
internal interface IRiscVFormat : IPageTableFormat
{
    /// <inheritdoc/>
    static int IPageTableFormat.IndexBits => 9;

    /// <inheritdoc/>
    static int IPageTableFormat.EntrySizeLog2 => 3;

    /// <inheritdoc/>
    static int IPageTableFormat.OutputBits => 56;

    /// <inheritdoc/>
    static ulong IPageTableFormat.PresentMask => RiscVEntry.Valid;

    /// <inheritdoc/>
    static int IPageTableFormat.ContiguousLog2 => 16;

    /// <inheritdoc/>
    static ulong IPageTableFormat.ContiguousBit => RiscVEntry.Napot;

    /// <inheritdoc/>
    static bool IPageTableFormat.CanBeLeaf(int level) => true;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.Attributes(Access access, MemoryType type, ulong preset) =>
        RiscVEntry.Attributes(access, type, preset);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.EncodeLeaf(ulong address, ulong attributes, int level) =>
        RiscVEntry.EncodeLeaf(address, attributes);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.ToContiguous(ulong leaf) => RiscVEntry.ToContiguous(leaf);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.LeafAddress(ulong entry, int level) => RiscVEntry.LeafAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.AttributesOf(ulong entry, int level) => RiscVEntry.AttributesOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.EncodeTable(ulong address, int level) => RiscVEntry.EncodeTable(address);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.TableAddress(ulong entry, int level) => RiscVEntry.TableAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static bool IPageTableFormat.IsTable(ulong entry, int level) => RiscVEntry.IsTable(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Access IPageTableFormat.AccessOf(ulong entry, int level, ulong preset) => RiscVEntry.AccessOf(entry);

    /// <inheritdoc/>
    static MemoryType IPageTableFormat.TypeOf(ulong entry, int level) => RiscVEntry.TypeOf(entry);

    /// <inheritdoc/>
    static bool IPageTableFormat.IsDirty(ulong entry, int level) => (entry & RiscVEntry.Dirty) != 0;

    /// <inheritdoc/>
    static ulong IPageTableFormat.ToClean(ulong entry, int level) => entry & ~RiscVEntry.Dirty;

    /// <inheritdoc/>
    static ulong IPageTableFormat.ToDirty(ulong entry, int level) => entry | RiscVEntry.Dirty;
}

/// <summary>
/// A first-stage format. The bits of an IOVA above its highest one must equal that one, so the aperture is the lower half of
/// what the format reaches.
/// </summary>
internal interface IRiscVFirstStageFormat : IRiscVFormat
{
    /// <inheritdoc/>
    static TranslationStage IPageTableFormat.Stage => TranslationStage.First;

    /// <inheritdoc/>
    static int IPageTableFormat.RootIndexBits => 9;

    /// <inheritdoc/>
    static Errno IPageTableFormat.TryConfigure(PageTableOptions options, out FormatSettings settings) =>
        RiscVEntry.TryConfigure(options, userPages: options.UserPages, hasExtensions: true, out settings);
}

/// <summary>A second-stage format: guest physical addresses, zero-extended; four times the entries in a root of 16 KiB.</summary>
internal interface IRiscVSecondStageFormat : IRiscVFormat
{
    /// <inheritdoc/>
    static TranslationStage IPageTableFormat.Stage => TranslationStage.Second;

    /// <inheritdoc/>
    static int IPageTableFormat.RootIndexBits => 11;

    /// <inheritdoc/>
    static Errno IPageTableFormat.TryConfigure(PageTableOptions options, out FormatSettings settings) =>
        RiscVEntry.TryConfigure(options, userPages: true, hasExtensions: true, out settings);
}
