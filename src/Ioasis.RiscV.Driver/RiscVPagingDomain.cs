using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// A paging domain: a table of the first or of the second stage, and its bonds. It belongs to no IOMMU (S4.2): every IOMMU that
/// can walk the table and sees the same memory can be bonded to it.
/// </summary>
/// <remarks>
/// Every context lets hardware that can do so set A and D (sections 2.1.2.1, "GADE" and "SADE"): leaves of domains without dirty
/// tracking are born with both, so that it costs them nothing, and tracking begins and ends without a change of a context that is
/// live. Who wants to know dirty pages more exactly limits the leaves of such domains
/// (<see cref="RiscVDriverOptions.DirtyTrackingLeafSizes"/>).
/// </remarks>
internal sealed partial class RiscVPagingDomain : TablePagingDomain
{
    private readonly IPhysicalMemory _memory;
    private readonly MsiPageTable? _msi;
    private readonly int _physicalBits;

    private RiscVPagingDomain(
        IoPageTable table,
        IPhysicalMemory memory,
        IPageAllocator pages,
        MsiPageTable? msi,
        PagingMode mode,
        bool isSecondStage,
        bool tracksDirty,
        int physicalBits)
        : base(table, pages, tracksDirty)
    {
        _memory = memory;
        _msi = msi;
        _physicalBits = physicalBits;
        Mode = mode;
        IsSecondStage = isSecondStage;
        Bonds = new(isSecondStage);

        // Both stages number their modes alike (sections 2.1.2.2, 2.1.2.4).
        ulong encoded = mode switch
        {
            PagingMode.Sv39 => Iosatp.ModeSv39,
            PagingMode.Sv48 => Iosatp.ModeSv48,
            _ => Iosatp.ModeSv57,
        };
        Pointer = (encoded << TablePointer.ModeShift) | (table.Root.Value >> 12);
    }

    /// <summary>The format of the table: as it says, or for a second stage its variant with two more bits (Sv39x4 and so on).</summary>
    public PagingMode Mode { get; }

    /// <summary>
    /// Whether it translates guest-physical addresses (<see cref="PagingDomainOptions.NestParent"/>): it can be attached by
    /// itself, or carry nested domains; not with a PASID, for the hardware has one second stage a device.
    /// </summary>
    public bool IsSecondStage { get; }

    /// <summary>IOMMUs that a device is attached through.</summary>
    public int BondCount => Bonds.Count;

    /// <inheritdoc/>
    public override bool IsNestParent => IsSecondStage;

    /// <inheritdoc/>
    public override bool SupportsPasids => !IsSecondStage;

    internal BondSet Bonds { get; }

    /// <inheritdoc/>
    protected override bool IsInUse => Bonds.Count > 0;

    /// <inheritdoc/>
    protected override Errno Invalidate(in InvalidationGather gather) => Bonds.Invalidate(gather);

    /// <summary>The MSI page table, if there is one.</summary>
    internal MsiPageTable? Msi => _msi;

    /// <summary>Mode and root: the <c>fsc</c> field of a context that uses the table, or <c>iohgatp</c> but for the GSCID.</summary>
    internal ulong Pointer { get; }

    /// <summary>Makes a domain with an empty table.</summary>
    internal static Errno TryCreate(
        RiscVIommuInstance iommu,
        IPageAllocator pages,
        PagingMode mode,
        int node,
        in PagingDomainOptions options,
        InterruptFileAddresses? interruptFiles,
        out RiscVPagingDomain? domain)
    {
        domain = null;
        PageTableFormat format = (mode, options.NestParent) switch
        {
            (PagingMode.Sv39, false) => PageTableFormat.Of<Sv39>(),
            (PagingMode.Sv48, false) => PageTableFormat.Of<Sv48>(),
            (_, false) => PageTableFormat.Of<Sv57>(),
            (PagingMode.Sv39, true) => PageTableFormat.Of<Sv39x4>(),
            (PagingMode.Sv48, true) => PageTableFormat.Of<Sv48x4>(),
            (_, true) => PageTableFormat.Of<Sv57x4>(),
        };
        RiscVTableOptions tableOptions = new()
        {
            Napot = iommu.Options.UseNapot,
            PhysicalAddressBits = iommu.Hardware.PhysicalAddressSize,
            HardwareDirty = options.DirtyTracking,
            LeafSizes = iommu.Options.LeafSizes & (options.DirtyTracking ? iommu.Options.DirtyTrackingLeafSizes : ulong.MaxValue),
            Node = node,
        };
        MsiPageTable? msi = null;
        Errno error = interruptFiles is { } files
            ? MsiPageTable.TryCreate(iommu.Memory, pages, node, files, GuestBits(mode), iommu.Hardware.MsiMrif, out msi)
            : Errno.Success;
        if (error != Errno.Success)
        {
            return error;
        }

        error = IoPageTable.TryCreate(format, tableOptions, iommu.Memory, pages, out IoPageTable? table);
        if (error != Errno.Success)
        {
            msi?.Free();
            return error;
        }

        domain = new(
            table!, iommu.Memory, pages, msi, mode, options.NestParent, options.DirtyTracking, iommu.Hardware.PhysicalAddressSize);
        return Errno.Success;
    }

    /// <summary>
    /// Makes sure that the domain is bonded to an IOMMU, for one more attachment. When it returns, invalidators see the bond.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if the IOMMU cannot walk the table, or lacks what the domain was promised to
    /// have; <see cref="Errno.NoSpace"/> without a PSCID or GSCID.
    /// </returns>
    internal Errno Acquire(RiscVIommuInstance iommu, out Bond? bond)
    {
        bond = null;
        if (!iommu.Supports(Mode, IsSecondStage) || iommu.Hardware.PhysicalAddressSize < _physicalBits
            || iommu.Memory != _memory || (SupportsDirtyTracking && !iommu.Hardware.AmoHwad)
            || (_msi is not null && !iommu.Hardware.MsiFlat) || (_msi is { AllowsResidentFiles: true } && !iommu.Hardware.MsiMrif))
        {
            return Errno.InvalidArgument;
        }

        return Bonds.Acquire(iommu, out bond);
    }

    /// <inheritdoc/>
    protected override void FreeTables()
    {
        base.FreeTables();
        _msi?.Free();
    }

    private static int GuestBits(PagingMode mode) => (int)mode + 2;
}
