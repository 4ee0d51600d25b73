using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>
/// A format of radix tables: a handful of primitives over which every algorithm is written once. Implemented by empty
/// structures; the JIT compiles the algorithms for each.
/// </summary>
/// <remarks>
/// Levels count from the leaves: a table of level 0 holds leaves of 4 KiB, the root has level <see cref="Levels"/> - 1. An
/// entry is a number of 4 or 8 bytes, zero-extended to 64 bits. Entry 0 is not present.
/// </remarks>
public interface IPageTableFormat
{
    /// <summary>Which format it is.</summary>
    static abstract PageTableFormat Format { get; }

    /// <summary>How many levels a walk takes.</summary>
    static abstract int Levels { get; }

    /// <summary>Bits of the IOVA that index a table below the root.</summary>
    static abstract int IndexBits { get; }

    /// <summary>Bits of the IOVA that index the root.</summary>
    static abstract int RootIndexBits { get; }

    /// <summary>log2 of the bytes of an entry: 2 or 3.</summary>
    static abstract int EntrySizeLog2 { get; }

    /// <summary>The aperture is [0, 2^n - 1].</summary>
    static abstract int ApertureBits { get; }

    /// <summary>Physical addresses have at most so many bits.</summary>
    static abstract int OutputBits { get; }

    /// <summary>log2 of the leaves made of several adjacent entries of level 0, or 0 if the format has none.</summary>
    static abstract int ContiguousLog2 { get; }

    /// <summary>The bits that every leaf of a table with <paramref name="options"/> has.</summary>
    static abstract ulong Preset(PageTableOptions options);

    /// <summary>The bits of a leaf that permits <paramref name="access"/>, or 0 if there is no such leaf.</summary>
    /// <param name="access">What the device may do.</param>
    /// <param name="type">Memory type.</param>
    /// <param name="preset">From <see cref="Preset"/>.</param>
    static abstract ulong Attributes(Access access, MemoryType type, ulong preset);

    /// <summary>A leaf. Linear in <paramref name="address"/>: a step of 2^n bytes adds the same to the entry everywhere.</summary>
    static abstract ulong EncodeLeaf(ulong address, ulong attributes);

    /// <summary>Turns a leaf of level 0, with its address aligned to the group, into one of the entries of a contiguous leaf.</summary>
    static abstract ulong ToContiguous(ulong leaf);

    /// <summary>The address in a leaf; of a contiguous one that of the whole group.</summary>
    static abstract ulong LeafAddress(ulong entry);

    /// <summary>The bits of a leaf without its address and without the mark of a contiguous one.</summary>
    static abstract ulong AttributesOf(ulong entry);

    /// <summary>Whether a present leaf of level 0 is one of the entries of a contiguous leaf.</summary>
    static abstract bool IsContiguous(ulong entry);

    /// <summary>An entry that points to a table.</summary>
    static abstract ulong EncodeTable(ulong address);

    /// <summary>The address in an entry that points to a table.</summary>
    static abstract ulong TableAddress(ulong entry);

    /// <summary>Whether the entry is a leaf or points to a table.</summary>
    static abstract bool IsPresent(ulong entry);

    /// <summary>Whether the entry points to a table.</summary>
    static abstract bool IsTable(ulong entry);

    /// <summary>What a leaf permits.</summary>
    static abstract Access AccessOf(ulong entry);

    /// <summary>The memory type of a leaf.</summary>
    static abstract MemoryType TypeOf(ulong entry);

    /// <summary>The bit that the hardware sets in a leaf at the first write.</summary>
    static abstract ulong DirtyBit { get; }
}
