using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The address space of a process as a first stage: contexts of PASIDs point at the process's own table. It can be attached
/// through several IOMMUs; each caches it under a PSCID of its own, and forgets what the process takes out before the
/// process reuses it (S2.11).
/// </summary>
internal sealed class RiscVSvaDomain : SvaDomain
{
    private readonly PagingMode _mode;

    private RiscVSvaDomain(ProcessAddressSpace addressSpace, PagingMode mode)
        : base(addressSpace)
    {
        _mode = mode;
        ulong encoded = mode switch
        {
            PagingMode.Sv39 => Iosatp.ModeSv39,
            PagingMode.Sv48 => Iosatp.ModeSv48,
            _ => Iosatp.ModeSv57,
        };
        Pointer = (encoded << TablePointer.ModeShift) | (addressSpace.Table.Root.Value >> 12);
    }

    /// <summary>Where it is cached.</summary>
    public BondSet Bonds { get; } = new(isSecondStage: false);

    /// <inheritdoc/>
    protected override bool IsAttached => Bonds.Count > 0;

    /// <summary>Mode and root: the <c>fsc</c> field of a context that uses the table.</summary>
    public ulong Pointer { get; }

    /// <summary>Makes a domain that follows the address space.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if the IOMMU cannot walk the table; <see cref="Errno.NoEntry"/> if the process
    /// ends.
    /// </returns>
    public static Errno TryCreate(RiscVIommuInstance iommu, ProcessAddressSpace addressSpace, out RiscVSvaDomain? domain)
    {
        domain = null;
        PageTableFormat format = addressSpace.Table.Format;
        PagingMode mode = format == PageTableFormat.Of<Sv39>() ? PagingMode.Sv39
            : format == PageTableFormat.Of<Sv48>() ? PagingMode.Sv48
            : format == PageTableFormat.Of<Sv57>() ? PagingMode.Sv57
            : 0;
        if (mode == 0 || !CanWalk(iommu, mode, addressSpace))
        {
            return Errno.InvalidArgument;
        }

        RiscVSvaDomain made = new(addressSpace, mode);
        Errno error = made.TryRegister();
        domain = error == Errno.Success ? made : null;
        return error;
    }

    /// <summary>
    /// Makes sure that there is a bond to an IOMMU, for one more attachment; see <see cref="BondSet.Acquire"/>. Besides,
    /// <see cref="Errno.NoEntry"/> if the process ends.
    /// </summary>
    public Errno Acquire(RiscVIommuInstance iommu, out Bond? bond)
    {
        bond = null;
        if (!CanWalk(iommu, _mode, AddressSpace))
        {
            return Errno.InvalidArgument;
        }

        // Either the end of the process sees the bond, or this sees that it ends: the barriers are in BondSet and in Exit.
        Errno error = Bonds.Acquire(iommu, out bond);
        if (error == Errno.Success && AddressSpace.IsExiting)
        {
            Bonds.Release(bond!);
            bond = null;
            return Errno.NoEntry;
        }

        return error;
    }

    /// <inheritdoc/>
    public override Errno Invalidate(in InvalidationGather gather) => Bonds.Invalidate(gather);

    private static bool CanWalk(RiscVIommuInstance iommu, PagingMode mode, ProcessAddressSpace addressSpace) =>
        iommu.Supports(mode, isSecondStage: false) && iommu.Memory == addressSpace.Memory;
}
