using Ioasis.Platform;

namespace Ioasis.PageTables;

/// <summary>
/// What a table may use of its format, and where its pages come from. Fixed when the table is made. A format with options of
/// its own has a type derived from this one.
/// </summary>
internal record PageTableOptions
{
    /// <summary>The defaults: every leaf size, no extension, nothing for the hardware to mark.</summary>
    public static PageTableOptions Default { get; } = new();

    /// <summary>
    /// Bit n permits leaves of 2^n bytes. Sizes that the format has not are ignored, and 4 KiB is always permitted. A size
    /// is used only if that of every lower level is permitted as well: splitting makes those of the next.
    /// </summary>
    public ulong LeafSizes { get; init; } = ulong.MaxValue;

    /// <summary>
    /// First stage: leaves permit unprivileged requests, which requests without PASID are. Second-stage leaves do so always.
    /// </summary>
    public bool UserPages { get; init; } = true;

    /// <summary>
    /// The hardware marks by itself the leaves through which it writes: they start clean, and dirty pages can be read. Without
    /// it they start as they are after a write, so that no access has to be marked, or faults for want of the mark.
    /// </summary>
    public bool HardwareDirty { get; init; }

    /// <summary>IOVAs are below 2^n; the format's own limit counts as well.</summary>
    public int ApertureBits { get; init; } = 64;

    /// <summary>Physical addresses are below 2^n; the format's own limit counts as well.</summary>
    public int PhysicalAddressBits { get; init; } = 64;

    /// <summary>The memory node for table pages (S4.12).</summary>
    public int Node { get; init; } = IPageAllocator.AnyNode;
}
