using Ioasis.Platform;

namespace Ioasis.PageTables;

/// <summary>What a table may use of its format, and where its pages come from. Fixed when the table is made.</summary>
public sealed record PageTableOptions
{
    /// <summary>The defaults: every leaf size, no extension, accessed and dirty preset.</summary>
    public static PageTableOptions Default { get; } = new();

    /// <summary>
    /// Bit n permits leaves of 2^n bytes. Sizes that the format has not are ignored, and 4 KiB is always permitted. A size
    /// is used only if that of every lower level is permitted as well: splitting makes those of the next.
    /// </summary>
    public ulong LeafSizes { get; init; } = ulong.MaxValue;

    /// <summary>Uses 64 KiB leaves (Svnapot). Not with 4-byte entries.</summary>
    public bool Napot { get; init; }

    /// <summary>Permits memory types other than <see cref="MemoryType.Pma"/> (Svpbmt). Not with 4-byte entries.</summary>
    public bool MemoryTypes { get; init; }

    /// <summary>
    /// First stage: leaves have U set. Requests without PASID are unprivileged, so they need it (RISC-V IOMMU specification,
    /// section 3.3). Second-stage leaves have it always.
    /// </summary>
    public bool UserPages { get; init; } = true;

    /// <summary>
    /// The hardware sets D by itself (<c>DC.tc.SADE</c>, <c>DC.tc.GADE</c>): leaves start clean and dirty pages can be read.
    /// Without it leaves start dirty, so that no access faults for want of D. A is preset in either case.
    /// </summary>
    public bool HardwareDirty { get; init; }

    /// <summary>Physical addresses are below 2^n; the format's own limit counts as well.</summary>
    public int PhysicalAddressBits { get; init; } = 56;

    /// <summary>The memory node for table pages (S4.12).</summary>
    public int Node { get; init; } = IPageAllocator.AnyNode;
}
