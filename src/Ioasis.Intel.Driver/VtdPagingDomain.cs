using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// A paging domain: a table of the first or of the second stage, and its bonds. It belongs to no IOMMU (S4.2): every IOMMU that can walk
/// the table and sees the same memory can be bonded to it.
/// </summary>
internal sealed class VtdPagingDomain : TablePagingDomain
{
    private readonly IPhysicalMemory _memory;
    private readonly int _physicalBits;

    private VtdPagingDomain(
        IoPageTable table, IPhysicalMemory memory, IPageAllocator pages, DomainShape shape, bool tracksDirty, int physicalBits)
        : base(table, pages, tracksDirty)
    {
        _memory = memory;
        _physicalBits = physicalBits;
        Shape = shape;
        Bonds = new(shape.IsFirstStage);
    }

    /// <summary>Levels of the table, 3 to 5.</summary>
    public int Levels => Shape.Levels;

    /// <summary>Whether the table is a first stage (x86-64 paging), else a second stage.</summary>
    public bool IsFirstStage => Shape.IsFirstStage;

    /// <inheritdoc/>
    public override bool IsNestParent => Shape.IsNestParent;

    /// <summary>IOMMUs that a device is attached through.</summary>
    public int BondCount => Bonds.Count;

    internal DomainShape Shape { get; }

    internal BondSet Bonds { get; }

    /// <inheritdoc/>
    protected override bool IsInUse => Bonds.Count > 0;

    /// <inheritdoc/>
    protected override bool CachesAbsence => Bonds.CachesAbsence;

    /// <summary>Makes a domain with an empty table.</summary>
    internal static Errno TryCreate(
        VtdIommuInstance iommu, IPageAllocator pages, DomainShape shape, int node, bool tracksDirty, out VtdPagingDomain? domain)
    {
        VtdDriverOptions options = iommu.Options;
        ulong leaves = options.LeafSizes & (tracksDirty ? options.DirtyTrackingLeafSizes : ulong.MaxValue) & shape.LeafSizes;
        PageTableOptions tableOptions = shape.IsFirstStage
            ? new X64TableOptions
            {
                LeafSizes = leaves,
                PhysicalAddressBits = options.HostAddressWidth,
                HardwareDirty = tracksDirty,
                Node = node,
            }
            : new VtdStage2Options
            {
                ForceSnoop = shape.ForcesSnoop,
                LeafSizes = leaves,
                ApertureBits = iommu.Hardware.MaxGuestAddressWidth,
                PhysicalAddressBits = options.HostAddressWidth,
                HardwareDirty = tracksDirty,
                Node = node,
            };
        Errno error = IoPageTable.TryCreate(shape.Format, tableOptions, iommu.Memory, pages, out IoPageTable? table);
        domain = error == Errno.Success
            ? new(table!, iommu.Memory, pages, shape, tracksDirty, options.HostAddressWidth)
            : null;
        return error;
    }

    /// <summary>
    /// Makes sure that the domain is bonded to an IOMMU, for one more attachment. When it returns, invalidators see the bond.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if the IOMMU cannot walk the table, or lacks what the domain was promised to have;
    /// <see cref="Errno.NoSpace"/> without a domain-ID.
    /// </returns>
    internal Errno Acquire(VtdIommuInstance iommu, Pasid pasid, out Bond? bond)
    {
        bond = null;
        bool fits = iommu.WhyNot(Shape) is null && iommu.Options.HostAddressWidth >= _physicalBits && iommu.Memory == _memory
            && (IsFirstStage || iommu.Hardware.MaxGuestAddressWidth >= Math.Min(Aperture.Last == 0 ? 0 : System.Numerics.BitOperations.Log2(Aperture.Last) + 1, 64))
            && (!SupportsDirtyTracking || iommu.TracksDirty);
        return fits ? Bonds.Acquire(iommu, pasid.Value, out bond) : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    protected override Errno Invalidate(in InvalidationGather gather) => Bonds.Invalidate(gather);

    /// <summary>What a PASID-table entry, or a legacy context, that leads to the table has (sections 9.3, 9.6).</summary>
    internal ContextTarget TargetFor(Bond bond, AtsBond? ats) => Shape.IsFirstStage
        ? ContextTarget.ForFirstStage(Table.Root, Shape.Levels, bond, ats)
        : ContextTarget.ForSecondStage(Table.Root, Shape.Levels, SupportsDirtyTracking, Shape.ForcesSnoop, bond, ats);
}

/// <summary>What hardware must have to walk a table.</summary>
/// <param name="IsFirstStage">x86-64 paging; else a second stage.</param>
/// <param name="Levels">3 to 5; of a first stage 4 or 5.</param>
/// <param name="ForcesSnoop">Leaves, or the entry that leads to the table, say that accesses snoop: snoop control is needed.</param>
/// <param name="IsNestParent">Nested domains can stand on it.</param>
/// <param name="LeafSizes">Bit n is set if a leaf may have 2^n bytes.</param>
internal readonly record struct DomainShape(bool IsFirstStage, int Levels, bool ForcesSnoop, bool IsNestParent, ulong LeafSizes)
{
    /// <summary>The format.</summary>
    public PageTableFormat Format => (IsFirstStage, Levels) switch
    {
        (true, 5) => PageTableFormat.Of<X64Level5>(),
        (true, _) => PageTableFormat.Of<X64Level4>(),
        (false, 3) => PageTableFormat.Of<VtdStage2Level3>(),
        (false, 4) => PageTableFormat.Of<VtdStage2Level4>(),
        _ => PageTableFormat.Of<VtdStage2Level5>(),
    };
}
