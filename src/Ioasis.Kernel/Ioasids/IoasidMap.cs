using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// What is bound to an IOASID: the memory that its DMA reaches (S1.6). It hands out domains, one for each kind of IOMMU that
/// needs one; it knows devices only as those for which a domain must be of the right format. Under the lock of its context.
/// </summary>
internal abstract class IoasidMap
{
    /// <summary>Attaches, by <paramref name="attach"/>, to a domain that the device's IOMMU takes.</summary>
    /// <returns>Success, or why there is none; then nothing has changed.</returns>
    public abstract Errno Attach(IommuDevice device, Func<Domain, Errno> attach);

    /// <summary>Keeps a device's reserved regions free of mappings.</summary>
    public virtual Errno Reserve(IommuDevice device, object owner) => Errno.Success;

    /// <summary>Gives them back.</summary>
    public virtual void Unreserve(object owner)
    {
    }

    /// <summary>Nothing is attached any more: lets go of everything. Not under the lock.</summary>
    public abstract void Release();
}

/// <summary>An address space of a <c>/dev/iommu</c>. The object is kept for it, and its descriptor's file.</summary>
internal sealed class IoasIoasidMap(IommufdFile file, IoasObject ioas) : IoasidMap
{
    private readonly List<(PagingDomain Domain, AddressSpaceDomain InSpace)> _domains = [];

    public override Errno Attach(IommuDevice device, Func<Domain, Errno> attach)
    {
        foreach ((PagingDomain domain, _) in _domains)
        {
            Errno error = attach(domain);
            if (error != Errno.InvalidArgument)
            {
                return error;
            }
        }

        // None, or none that this IOMMU can walk.
        Errno made = device.Iommu.TryAllocatePagingDomain(device, new() { Pasid = true }, out PagingDomain? fresh);
        if (made != Errno.Success)
        {
            return made;
        }

        made = ioas.Space.AddDomain(fresh!, out AddressSpaceDomain? inSpace);
        if (made != Errno.Success)
        {
            fresh!.Dispose();
            return made;
        }

        made = attach(fresh!);
        if (made != Errno.Success)
        {
            if (ioas.Space.RemoveDomain(inSpace!))
            {
                fresh!.Dispose();
            }

            return made;
        }

        _domains.Add((fresh!, inSpace!));
        return Errno.Success;
    }

    public override Errno Reserve(IommuDevice device, object owner) =>
        ioas.Space.ReserveRegions(device.GetReservedRegions(), owner);

    public override void Unreserve(object owner) => ioas.Space.ReleaseRegions(owner);

    public override void Release()
    {
        foreach ((PagingDomain domain, AddressSpaceDomain inSpace) in _domains)
        {
            if (ioas.Space.RemoveDomain(inSpace))
            {
                domain.Dispose();
            }
        }

        ioas.Release();
        file.Dereference();
    }
}

/// <summary>A page table of a <c>/dev/iommu</c>, one of the kernel's or a guest's. The object is kept for it, and its descriptor's file.</summary>
internal sealed class HwptIoasidMap(IommufdFile file, HwptObject table) : IoasidMap
{
    public override Errno Attach(IommuDevice device, Func<Domain, Errno> attach) => attach(table.Domain);

    public override Errno Reserve(IommuDevice device, object owner) =>
        table.Paging.Ioas.Space.ReserveRegions(device.GetReservedRegions(), owner);

    public override void Unreserve(object owner) => table.Paging.Ioas.Space.ReleaseRegions(owner);

    public override void Release()
    {
        table.Release();
        file.Dereference();
    }
}

/// <summary>The address space of the user's process.</summary>
internal sealed class ProcessIoasidMap(ProcessAddressSpace process) : IoasidMap
{
    private readonly Dictionary<IommuInstance, SvaDomain> _domains = [];

    public override Errno Attach(IommuDevice device, Func<Domain, Errno> attach)
    {
        if (_domains.TryGetValue(device.Iommu, out SvaDomain? domain))
        {
            return attach(domain);
        }

        Errno error = device.Iommu.TryAllocateSvaDomain(device, process, out SvaDomain? fresh);
        if (error != Errno.Success)
        {
            return error;
        }

        error = attach(fresh!);
        if (error != Errno.Success)
        {
            fresh!.Dispose();
            return error;
        }

        _domains.Add(device.Iommu, fresh!);
        return Errno.Success;
    }

    public override void Release()
    {
        foreach (SvaDomain domain in _domains.Values)
        {
            domain.Dispose();
        }
    }
}
