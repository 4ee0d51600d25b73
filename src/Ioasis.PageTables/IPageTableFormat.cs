using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>
/// A format of radix tables: a handful of primitives over which every algorithm is written once. Implemented by empty
/// structures; the JIT compiles the algorithms for each. A new format is such a structure and a line in
/// <see cref="PageTableFormat.All"/>.
/// </summary>
/// <remarks>
/// <para>Levels count from the leaves: a table of level 0 holds leaves of 4 KiB, the root has level <see cref="Levels"/> - 1. An
/// entry is a number of 4 or 8 bytes, zero-extended to 64 bits. Entry 0 is not present. What an entry means may depend on the
/// level of its table, which is therefore an argument of all that reads or makes one.</para>
/// <para>A leaf may be replaced by a table that translates alike, and a table by a leaf, while hardware walks: no format here
/// asks for an entry that is not present in between.</para>
/// </remarks>
internal interface IPageTableFormat
{
    /// <summary>A name for people, which no other format has.</summary>
    static abstract string Name { get; }

    /// <summary>Which stage of a translation it is made for.</summary>
    static abstract TranslationStage Stage { get; }

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

    /// <summary>The bits of which at least one is set in every entry that is present, and none in others.</summary>
    static abstract ulong PresentMask { get; }

    /// <summary>log2 of the leaves made of several adjacent entries of level 0, or 0 if the format has none.</summary>
    static virtual int ContiguousLog2 => 0;

    /// <summary>The bit that says of a leaf of level 0 that it is one of the entries of a contiguous leaf; 0 if there is none.</summary>
    static virtual ulong ContiguousBit => 0;

    /// <summary>Takes the options of a table.</summary>
    /// <param name="options">The options; of the format's own type or of the base type.</param>
    /// <param name="settings">What the format wants to know of them later.</param>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> for an option that the format does not have.</returns>
    static abstract Errno TryConfigure(PageTableOptions options, out FormatSettings settings);

    /// <summary>Whether tables of a level may hold leaves.</summary>
    static abstract bool CanBeLeaf(int level);

    /// <summary>
    /// The bits of a leaf that permits at least <paramref name="access"/>, on any level, or 0 if there is no such leaf.
    /// </summary>
    /// <param name="access">What the device may do.</param>
    /// <param name="type">Memory type.</param>
    /// <param name="preset">From <see cref="TryConfigure"/>.</param>
    static abstract ulong Attributes(Access access, MemoryType type, ulong preset);

    /// <summary>
    /// A leaf. Linear in <paramref name="address"/>: a step of 2^n bytes adds the same to the entry everywhere on a level.
    /// </summary>
    static abstract ulong EncodeLeaf(ulong address, ulong attributes, int level);

    /// <summary>Turns a leaf of level 0, with its address aligned to the group, into one of the entries of a contiguous leaf.</summary>
    static virtual ulong ToContiguous(ulong leaf) => leaf;

    /// <summary>The address in a leaf; of a contiguous one that of the whole group.</summary>
    static abstract ulong LeafAddress(ulong entry, int level);

    /// <summary>
    /// The bits of a leaf without its address, its level and the mark of a contiguous one: what <see cref="EncodeLeaf"/> takes to
    /// make a leaf of any level that permits the same.
    /// </summary>
    static abstract ulong AttributesOf(ulong entry, int level);

    /// <summary>An entry of a level that points to a table of the next lower one.</summary>
    static abstract ulong EncodeTable(ulong address, int level);

    /// <summary>The address in an entry that points to a table.</summary>
    static abstract ulong TableAddress(ulong entry, int level);

    /// <summary>Whether an entry points to a table. Asked of any entry of a level above 0.</summary>
    static abstract bool IsTable(ulong entry, int level);

    /// <summary>What a leaf permits.</summary>
    static abstract Access AccessOf(ulong entry, int level, ulong preset);

    /// <summary>The memory type of a leaf.</summary>
    static virtual MemoryType TypeOf(ulong entry, int level) => MemoryType.Default;

    /// <summary>Whether the hardware has written through a leaf since it was clean.</summary>
    static abstract bool IsDirty(ulong entry, int level);

    /// <summary>A leaf as it is before the hardware writes through it.</summary>
    static abstract ulong ToClean(ulong entry, int level);

    /// <summary>A leaf as it is after the hardware wrote through it.</summary>
    static abstract ulong ToDirty(ulong entry, int level);
}

/// <summary>What a format made of the options of a table.</summary>
/// <param name="Preset">A number that goes back to the format wherever it makes or reads leaves; its meaning is the format's.</param>
/// <param name="MemoryTypes">Whether leaves may have a memory type other than <see cref="MemoryType.Default"/>.</param>
/// <param name="ContiguousLeaves">Whether leaves of several entries of level 0 may be used.</param>
internal readonly record struct FormatSettings(ulong Preset, bool MemoryTypes = false, bool ContiguousLeaves = false);
