using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// The address space of a process as a first stage: entries of PASIDs point at the process's own table. It can be attached through several
/// IOMMUs; each caches it under a domain-ID of its own, and forgets what the process takes out before the process reuses it (S2.11).
/// </summary>
internal sealed class VtdSvaDomain : SvaDomain
{
    private readonly DomainShape _shape;

    private VtdSvaDomain(ProcessAddressSpace addressSpace, DomainShape shape)
        : base(addressSpace) => _shape = shape;

    /// <summary>Where it is cached.</summary>
    public BondSet Bonds { get; } = new(isFirstStage: true);

    /// <inheritdoc/>
    protected override bool IsAttached => Bonds.Count > 0;

    /// <summary>Makes a domain that follows the address space.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if the IOMMU cannot walk the table; <see cref="Errno.NoEntry"/> if the process ends.
    /// </returns>
    public static Errno TryCreate(VtdIommuInstance iommu, ProcessAddressSpace addressSpace, out VtdSvaDomain? domain)
    {
        domain = null;
        PageTableFormat format = addressSpace.Table.Format;
        int levels = format == PageTableFormat.Of<X64Level4>() ? 4 : format == PageTableFormat.Of<X64Level5>() ? 5 : 0;
        ulong leaves = addressSpace.Table.PageSizes;
        DomainShape shape = new(IsFirstStage: true, levels, ForcesSnoop: false, IsNestParent: false, leaves);
        if (levels == 0 || !CanWalk(iommu, shape, addressSpace))
        {
            return Errno.InvalidArgument;
        }

        VtdSvaDomain made = new(addressSpace, shape);
        Errno error = made.TryRegister();
        domain = error == Errno.Success ? made : null;
        return error;
    }

    /// <summary>
    /// Makes sure that there is a bond to an IOMMU, for one more attachment; see <see cref="BondSet.Acquire"/>. Besides,
    /// <see cref="Errno.NoEntry"/> if the process ends.
    /// </summary>
    public Errno Acquire(VtdIommuInstance iommu, Pasid pasid, out Bond? bond)
    {
        bond = null;
        if (!CanWalk(iommu, _shape, AddressSpace))
        {
            return Errno.InvalidArgument;
        }

        // Either the end of the process sees the bond, or this sees that it ends: the barriers are in BondSet and in Exit.
        Errno error = Bonds.Acquire(iommu, pasid.Value, out bond);
        if (error == Errno.Success && AddressSpace.IsExiting)
        {
            Bonds.Release(bond!, pasid.Value);
            bond = null;
            return Errno.NoEntry;
        }

        return error;
    }

    /// <summary>What a PASID-table entry that leads to the table has.</summary>
    public ContextTarget TargetFor(Bond bond, AtsBond? ats) =>
        ContextTarget.ForFirstStage(AddressSpace.Table.Root, _shape.Levels, bond, ats);

    /// <inheritdoc/>
    public override Errno Invalidate(in InvalidationGather gather) => Bonds.Invalidate(gather);

    private static bool CanWalk(VtdIommuInstance iommu, DomainShape shape, ProcessAddressSpace addressSpace) =>
        iommu.WhyNot(shape) is null && iommu.Memory == addressSpace.Memory;
}
