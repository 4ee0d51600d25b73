using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A page table as an object (Linux: <c>iommufd_hwpt_paging</c>): a paging domain that holds everything that is mapped in one
/// address space, and the one-to-one mappings that its devices need.
/// </summary>
internal sealed class PageTableObject : HwptObject
{
    private readonly IommufdFile _owner;
    private readonly AddressSpaceDomain _inSpace;

    private PageTableObject(
        IommufdFile owner, IoasObject ioas, PagingDomain domain, AddressSpaceDomain inSpace, HwptTraits traits)
    {
        _owner = owner;
        _inSpace = inSpace;
        Ioas = ioas;
        PagingDomain = domain;
        Traits = traits;
    }

    /// <summary>The address space whose mappings it holds.</summary>
    public IoasObject Ioas { get; }

    /// <summary>The domain.</summary>
    public PagingDomain PagingDomain { get; }

    /// <inheritdoc/>
    public override Domain Domain => PagingDomain;

    /// <inheritdoc/>
    public override PageTableObject Paging => this;

    /// <inheritdoc/>
    public override bool AllowsPasids => (Traits & HwptTraits.Pasid) != 0;

    /// <summary>How it was made.</summary>
    public HwptTraits Traits { get; }

    /// <summary>Makes a table of an address space for a device. Under the attach lock; not in the object table yet.</summary>
    public static Errno TryMake(
        IommufdFile owner,
        IoasObject ioas,
        IommuDevice device,
        HwptTraits traits,
        uint dataType,
        byte[] data,
        out PageTableObject? made)
    {
        made = null;
        PagingDomainOptions options = new()
        {
            NestParent = (traits & HwptTraits.NestParent) != 0,
            DirtyTracking = (traits & HwptTraits.DirtyTracking) != 0,
            Pasid = (traits & HwptTraits.Pasid) != 0,
            DataType = dataType,
            Data = data,
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
        ioas.Keep();
        ioas.Tables.Add(made);
        return Errno.Success;
    }

    /// <summary>The domain as its address space knows it.</summary>
    public AddressSpaceDomain InSpace => _inSpace;

    /// <inheritdoc/>
    public override void Destroy()
    {
        _owner.ForgetTable(this);
        if (Ioas.Space.RemoveDomain(_inSpace))
        {
            PagingDomain.Dispose();
        }

        ReleaseFaults();
        Ioas.Release();
    }
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
