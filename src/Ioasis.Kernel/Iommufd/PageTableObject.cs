using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A page table as an object (Linux: <c>iommufd_hwpt_paging</c>): a paging domain that holds everything that is mapped in one
/// address space, and the one-to-one mappings that its devices need.
/// </summary>
internal sealed class PageTableObject : KernelObject
{
    private readonly IommufdFile _owner;
    private readonly AddressSpaceDomain _inSpace;
    private readonly UnmapBatch _directBatch;
    private readonly List<(AddressRange Range, Access Access, object Owner)> _direct = [];

    private PageTableObject(
        IommufdFile owner, IoasObject ioas, PagingDomain domain, AddressSpaceDomain inSpace, HwptTraits traits)
    {
        _owner = owner;
        _inSpace = inSpace;
        _directBatch = new(domain);
        Ioas = ioas;
        Domain = domain;
        Traits = traits;
    }

    /// <summary>The address space whose mappings it holds.</summary>
    public IoasObject Ioas { get; }

    /// <summary>The domain.</summary>
    public PagingDomain Domain { get; }

    /// <summary>How it was made.</summary>
    public HwptTraits Traits { get; }

    /// <summary>Makes a table of an address space for a device. Under the attach lock; not in the object table yet.</summary>
    public static Errno TryMake(
        IommufdFile owner, IoasObject ioas, IommuDevice device, HwptTraits traits, out PageTableObject? made)
    {
        made = null;
        PagingDomainOptions options = new()
        {
            NestParent = (traits & HwptTraits.NestParent) != 0,
            DirtyTracking = (traits & HwptTraits.DirtyTracking) != 0,
            Pasid = (traits & HwptTraits.Pasid) != 0,
        };
        Errno error = device.Iommu.TryAllocatePagingDomain(device, options, out PagingDomain? domain);
        if (error != Errno.Success)
        {
            return error;
        }

        error = ioas.Space.AddDomain(domain!, out AddressSpaceDomain? inSpace);
        if (error != Errno.Success)
        {
            domain!.Dispose();
            return error;
        }

        made = new(owner, ioas, domain!, inSpace!, traits);
        ioas.Use();
        ioas.Tables.Add(made);
        return Errno.Success;
    }

    /// <summary>Maps the regions that a device needs one to one, as far as another device has not had them mapped.</summary>
    public Errno AddDirectRegions(IReadOnlyList<ReservedRegion> regions, object owner)
    {
        foreach (ReservedRegion region in regions)
        {
            if (region.Kind != ReservedRegionKind.Direct)
            {
                continue;
            }

            // Whole pages, for a table cannot say less.
            ulong mask = AddressSpace.PageSize - 1;
            AddressRange range = new(region.Range.Start & ~mask, region.Range.Last | mask);
            IntervalSet missing = Covered().Complement(range);
            foreach (AddressRange piece in missing)
            {
                Errno error = Domain.Map(new(piece.Start), new(piece.Start), piece.Length, region.Access);
                if (error != Errno.Success)
                {
                    foreach (AddressRange undo in missing)
                    {
                        if (undo.Start < piece.Start)
                        {
                            _ = _directBatch.Unmap(new(undo.Start), undo.Length);
                        }
                    }

                    _ = _directBatch.Complete();
                    RemoveDirectRegions(owner);
                    return error == Errno.OutOfRange ? Errno.InvalidArgument : error;
                }
            }

            _direct.Add((range, region.Access, owner));
        }

        return Errno.Success;
    }

    /// <summary>Unmaps what only <paramref name="owner"/> needed one to one.</summary>
    public void RemoveDirectRegions(object owner)
    {
        List<AddressRange> gone = [.. _direct.Where(entry => ReferenceEquals(entry.Owner, owner)).Select(static e => e.Range)];
        if (gone.Count == 0)
        {
            return;
        }

        _ = _direct.RemoveAll(entry => ReferenceEquals(entry.Owner, owner));
        IntervalSet covered = Covered();
        foreach (AddressRange range in gone)
        {
            foreach (AddressRange piece in covered.Complement(range))
            {
                _ = _directBatch.Unmap(new(piece.Start), piece.Length);
            }
        }

        _ = _directBatch.Complete();
    }

    /// <inheritdoc/>
    public override void Destroy()
    {
        _owner.ForgetTable(this);
        Ioas.Space.RemoveDomain(_inSpace);
        Domain.Dispose();
        Ioas.Unuse();
    }

    private IntervalSet Covered() => IntervalSet.FromUnsorted(_direct.Select(static entry => entry.Range));
}

/// <summary>How a page table was made.</summary>
[Flags]
internal enum HwptTraits
{
    None = 0,

    /// <summary>The kernel made it for an attach and destroys it when it is not used any more.</summary>
    Automatic = 1,

    /// <summary>It may be the parent of nested tables.</summary>
    NestParent = 2,

    /// <summary>It tracks dirty pages.</summary>
    DirtyTracking = 4,

    /// <summary>It may be attached to PASIDs.</summary>
    Pasid = 8,
}
