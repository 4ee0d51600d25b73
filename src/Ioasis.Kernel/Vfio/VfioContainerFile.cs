using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// An open <c>/dev/vfio/vfio</c>: groups that share one address space, by VFIO's own rules (type 1, versions 1 and 2). The
/// address space is the one of iommufd; what differs are numbers, order of checks and what an unmap may cut.
/// </summary>
internal sealed partial class VfioContainerFile(IoasisKernel kernel) : OpenFile
{
    private readonly IoLock _lock = new();
    private readonly List<Member> _groups = [];
    private readonly List<ContainerDomain> _domains = [];
    private AddressSpace? _space;
    private bool _isVersion2;
    private int _mappings;
    private bool _tracksDirty;

    /// <summary>Whether the kind of IOMMU was chosen.</summary>
    public bool HasIommu => Volatile.Read(ref _space) is not null;

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, nint argument, out int result)
    {
        result = 0;
        using (_lock.Acquire())
        {
            switch (request)
            {
                case VfioRequests.GetApiVersion:
                    return Errno.Success;
                case VfioRequests.CheckExtension:
                    result = Has(argument) ? 1 : 0;
                    return Errno.Success;
                case VfioRequests.SetIommu:
                    return SetIommu(argument);
                default:
                    return _space is null ? Errno.InvalidArgument : Ioctl(caller, request, Span<byte>.Empty, out result);
            }
        }
    }

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        using (_lock.Acquire())
        {
            if (request == VfioRequests.GetApiVersion)
            {
                return Errno.Success;
            }

            if (_space is null)
            {
                return Errno.InvalidArgument;
            }

            return request switch
            {
                VfioRequests.IommuGetInfo => GetInfo(argument),
                VfioRequests.IommuMapDma => Map(caller, argument),
                VfioRequests.IommuUnmapDma => Unmap(caller, argument),
                VfioRequests.IommuDirtyPages => DirtyPages(caller, argument),
                _ => Errno.NotTypewriter,
            };
        }
    }

    /// <summary>Takes a group in; once the kind of IOMMU is chosen that attaches it.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if a live mapping lies where the group cannot reach or has a reserved region
    /// (S3.2, S3.3): nothing has changed then.
    /// </returns>
    internal Errno Add(VfioGroupFile group)
    {
        using (_lock.Acquire())
        {
            Member member = new(group);
            Errno error = _space is null ? Errno.Success : Attach(member);
            if (error == Errno.Success)
            {
                _groups.Add(member);
            }

            return error;
        }
    }

    /// <summary>Takes a group out. With the last one the kind of IOMMU and all mappings go.</summary>
    /// <param name="group">The group.</param>
    /// <param name="isClosing">The group's file goes: it is taken out whatever the IOMMU says.</param>
    /// <returns>Success; or the error of the IOMMU that did not confirm the detach: then the group is where it was.</returns>
    internal Errno Remove(VfioGroupFile group, bool isClosing)
    {
        using (_lock.Acquire())
        {
            Member member = _groups.Single(entry => entry.Group == group);
            Errno error = _space is null ? Errno.Success : Detach(member);
            if (error != Errno.Success && !isClosing)
            {
                return error;
            }

            _ = _groups.Remove(member);
            if (_space is not null && _groups.Count == 0)
            {
                CloseSpace();
            }

            return Errno.Success;
        }
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        // A group holds the container, so there is none any more.
    }

    private static Errno ToVfio(Errno error) => error == Errno.AddressInUse ? Errno.InvalidArgument : error;

    private bool Has(nint extension) => (VfioExtension)extension switch
    {
        VfioExtension.Type1 or VfioExtension.Type1V2 or VfioExtension.UnmapAll => true,
        VfioExtension.CoherentDma or VfioExtension.UpdateVaddr => _space is not null,
        _ => false,
    };

    private Errno SetIommu(nint kind)
    {
        if (_groups.Count == 0 || _space is not null)
        {
            return Errno.InvalidArgument;
        }

        // An extension that is known and no kind is another mistake than one that is not known.
        if ((VfioExtension)kind is not (VfioExtension.Type1 or VfioExtension.Type1V2))
        {
            return Has(kind) ? Errno.InvalidArgument : Errno.NoDevice;
        }

        Volatile.Write(ref _space, kernel.NewAddressSpace());
        _isVersion2 = (VfioExtension)kind == VfioExtension.Type1V2;
        for (int i = 0; i < _groups.Count; i++)
        {
            Errno error = Attach(_groups[i]);
            if (error != Errno.Success)
            {
                while (--i >= 0)
                {
                    _ = Detach(_groups[i]);
                }

                CloseSpace();
                return error;
            }
        }

        return Errno.Success;
    }

    private void CloseSpace()
    {
        _space!.Close();
        kernel.OnAddressSpaceClosed(_space);
        Volatile.Write(ref _space, null);

        // Those that a group could not be detached from stay with their address space, which has no mapping any more.
        _domains.Clear();
        _groups.ForEach(static member => member.Domain = null);
        _mappings = 0;
        _tracksDirty = false;
    }

    // A domain that the group can share with others, or one of its own.
    private Errno Attach(Member member)
    {
        // A new domain would have to pin memory whose address nobody knows.
        if (_space!.HasLostAddresses)
        {
            return Errno.Busy;
        }

        List<ReservedRegion> regions = [.. member.Group.Group.Devices.SelectMany(static device => device.GetReservedRegions())];
        Errno error = _space.ReserveRegions(regions, member);
        if (error != Errno.Success)
        {
            return ToVfio(error);
        }

        foreach (ContainerDomain domain in _domains)
        {
            error = domain.Attach(_space!, member, regions);
            if (error != Errno.InvalidArgument)
            {
                break;
            }
        }

        if (member.Domain is null && (error == Errno.InvalidArgument || _domains.Count == 0))
        {
            error = AttachToNew(member, regions);
        }

        if (error != Errno.Success)
        {
            _space.ReleaseRegions(member);
        }

        return ToVfio(error);
    }

    private Errno AttachToNew(Member member, List<ReservedRegion> regions)
    {
        IReadOnlyList<IommuDevice> devices = member.Group.Group.Devices;
        if (devices.Count == 0)
        {
            return Errno.NoDevice;
        }

        IommuDevice device = devices[0];
        Errno error = device.Iommu.TryAllocatePagingDomain(device, default, out PagingDomain? made);
        if (error != Errno.Success)
        {
            return error;
        }

        error = _space!.AddDomain(made!, out AddressSpaceDomain? inSpace);
        if (error != Errno.Success)
        {
            made!.Dispose();
            return error;
        }

        ContainerDomain domain = new(made!, inSpace!);
        error = domain.Attach(_space!, member, regions);
        if (error != Errno.Success)
        {
            if (_space.RemoveDomain(inSpace!))
            {
                made!.Dispose();
            }

            return error;
        }

        _domains.Add(domain);
        return Errno.Success;
    }

    private Errno Detach(Member member)
    {
        ContainerDomain domain = member.Domain!;
        Errno error = member.Group.Group.Detach();
        if (error != Errno.Success)
        {
            // The IOMMU may still use the domain: it is kept, and so is what is mapped in it.
            return error;
        }

        _space!.UnmapDirect(domain.InSpace, member);
        _space!.ReleaseRegions(member);
        member.Domain = null;
        if (--domain.Groups == 0)
        {
            _ = _domains.Remove(domain);
            if (_space.RemoveDomain(domain.InSpace))
            {
                domain.Domain.Dispose();
            }
        }

        return Errno.Success;
    }

    private sealed class Member(VfioGroupFile group)
    {
        public VfioGroupFile Group => group;

        public ContainerDomain? Domain { get; set; }
    }

    private sealed class ContainerDomain(PagingDomain domain, AddressSpaceDomain inSpace)
    {
        public PagingDomain Domain => domain;

        public AddressSpaceDomain InSpace => inSpace;

        public int Groups { get; set; }

        public Errno Attach(AddressSpace space, Member member, List<ReservedRegion> regions)
        {
            Errno error = space.MapDirect(inSpace, regions, member);
            if (error != Errno.Success)
            {
                return error;
            }

            error = member.Group.Group.Attach(domain);
            if (error != Errno.Success)
            {
                space.UnmapDirect(inSpace, member);
                return error;
            }

            member.Domain = this;
            Groups++;
            return Errno.Success;
        }
    }
}
