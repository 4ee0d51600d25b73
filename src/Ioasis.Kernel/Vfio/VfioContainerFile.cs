using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// An open <c>/dev/vfio/vfio</c>: groups that share one address space, by VFIO's own rules (type 1, versions 1 and 2). The
/// address space is the one of iommufd; what differs are numbers, order of checks and what an unmap may cut.
/// </summary>
internal sealed class VfioContainerFile(IoasisKernel kernel) : OpenFile
{
    // Mappings that a container may have at a time (Linux: dma_entry_limit).
    private const int MappingLimit = ushort.MaxValue;

    private readonly IoLock _lock = new();
    private readonly List<Member> _groups = [];
    private readonly List<ContainerDomain> _domains = [];
    private AddressSpace? _space;
    private bool _isVersion2;
    private int _mappings;

    /// <summary>Whether the kind of IOMMU was chosen.</summary>
    public bool HasIommu => Volatile.Read(ref _space) is not null;

    /// <inheritdoc/>
    public override Errno Ioctl(uint request, nint argument, out int result)
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
                    return _space is null ? Errno.InvalidArgument : Ioctl(request, Span<byte>.Empty, out result);
            }
        }
    }

    /// <inheritdoc/>
    public override Errno Ioctl(uint request, Span<byte> argument, out int result)
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
                VfioRequests.IommuMapDma => Map(argument),
                VfioRequests.IommuUnmapDma => Unmap(argument),
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
    internal void Remove(VfioGroupFile group)
    {
        using (_lock.Acquire())
        {
            Member member = _groups.Single(entry => entry.Group == group);
            _ = _groups.Remove(member);
            if (_space is not null)
            {
                Detach(member);
                if (_groups.Count == 0)
                {
                    CloseSpace();
                }
            }
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
        VfioExtension.CoherentDma => _space is not null,
        _ => false,
    };

    private Errno SetIommu(nint kind)
    {
        if (_groups.Count == 0 || _space is not null)
        {
            return Errno.InvalidArgument;
        }

        if ((VfioExtension)kind is not (VfioExtension.Type1 or VfioExtension.Type1V2))
        {
            return Errno.NoDevice;
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
                    Detach(_groups[i]);
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
        _mappings = 0;
    }

    // A domain that the group can share with others, or one of its own.
    private Errno Attach(Member member)
    {
        List<ReservedRegion> regions = [.. member.Group.Group.Devices.SelectMany(static device => device.GetReservedRegions())];
        Errno error = _space!.ReserveRegions(regions, member);
        if (error != Errno.Success)
        {
            return ToVfio(error);
        }

        foreach (ContainerDomain domain in _domains)
        {
            error = domain.Attach(member, regions);
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
        error = domain.Attach(member, regions);
        if (error != Errno.Success)
        {
            _space.RemoveDomain(inSpace!);
            made!.Dispose();
            return error;
        }

        _domains.Add(domain);
        return Errno.Success;
    }

    private void Detach(Member member)
    {
        ContainerDomain domain = member.Domain!;
        if (member.Group.Group.Detach() != Errno.Success)
        {
            // The IOMMU may still use the domain: it and its memory are kept for ever.
            return;
        }

        domain.Direct.Remove(member);
        _space!.ReleaseRegions(member);
        member.Domain = null;
        if (--domain.Groups == 0)
        {
            _ = _domains.Remove(domain);
            _space.RemoveDomain(domain.InSpace);
            domain.Domain.Dispose();
        }
    }

    private Errno Map(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, 32, out VfioIommuType1DmaMap map);
        if (error != Errno.Success)
        {
            return error;
        }

        ulong granule = _space!.Alignment;
        if (map.Argsz < 32
            || (map.Flags & ~(VfioDmaMapFlags.Read | VfioDmaMapFlags.Write)) != 0
            || map.Flags == VfioDmaMapFlags.None
            || map.Size == 0
            || ((map.Size | map.Iova | map.Vaddr) & (granule - 1)) != 0
            || !AddressRange.TryFromLength(map.Iova, map.Size, out AddressRange range)
            || !AddressRange.TryFromLength(map.Vaddr, map.Size, out _))
        {
            return Errno.InvalidArgument;
        }

        if (_space.IsMapped(range))
        {
            return Errno.Exists;
        }

        if (_mappings >= MappingLimit)
        {
            return Errno.NoSpace;
        }

        Access access = ((map.Flags & VfioDmaMapFlags.Read) != 0 ? Access.Read : 0)
            | ((map.Flags & VfioDmaMapFlags.Write) != 0 ? Access.Write : 0);
        ulong iova = map.Iova;
        error = _space.Map(kernel.Current.Owner, ref iova, isFixed: true, map.Vaddr, map.Size, access);
        _mappings += error == Errno.Success ? 1 : 0;
        return error == Errno.Overflow ? Errno.InvalidArgument : error;
    }

    private Errno Unmap(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, 24, out VfioIommuType1DmaUnmap unmap);
        if (error != Errno.Success)
        {
            return error;
        }

        bool all = (unmap.Flags & VfioDmaUnmapFlags.All) != 0;
        if (unmap.Argsz < 24 || (unmap.Flags & ~VfioDmaUnmapFlags.All) != 0)
        {
            return Errno.InvalidArgument;
        }

        AddressRange range = AddressRange.All;
        if (all
            ? (unmap.Iova | unmap.Size) != 0
            : ((unmap.Iova | unmap.Size) & (_space!.Alignment - 1)) != 0
                || !AddressRange.TryFromLength(unmap.Iova, unmap.Size, out range))
        {
            return Errno.InvalidArgument;
        }

        error = _space!.UnmapByVfioRules(range, _isVersion2 || all, out ulong unmapped, out int mappings);
        _mappings -= mappings;
        if (error != Errno.Success)
        {
            return error;
        }

        unmap.Size = unmapped;
        return ArgszArgument.Give(argument, unmap, 24);
    }

    // S3.7 to S3.11.
    private Errno GetInfo(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioIommuType1Info.MinimumSize, out VfioIommuType1Info info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < VfioIommuType1Info.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        CapabilityChain chain = new(24);
        chain.Add(VfioIommuType1Info.DmaAvailableCapability, 1, BitConverter.GetBytes(MappingLimit - _mappings));
        chain.Add(VfioIommuType1Info.IovaRangeCapability, 1, DescribeRanges());
        uint given = info.Argsz;
        info = new()
        {
            Argsz = given,
            Flags = VfioIommuInfoFlags.PageSizes | VfioIommuInfoFlags.Caps,
            IovaPageSizes = _space!.GetPageSizes(),
        };
        if (given < 24 + (uint)chain.Bytes.Length)
        {
            info.Argsz = 24 + (uint)chain.Bytes.Length;
        }
        else
        {
            if (argument.Length < 24 + chain.Bytes.Length)
            {
                return Errno.BadAddress;
            }

            chain.Bytes.CopyTo(argument[24..]);
            info.CapOffset = 24;
        }

        return ArgszArgument.Give(argument, info, (int)Math.Min(given, 24));
    }

    private byte[] DescribeRanges()
    {
        AddressRange[] ranges = _space!.GetUsable(out _);
        byte[] body = new byte[8 + (16 * ranges.Length)];
        MemoryMarshal.Write(body, (uint)ranges.Length);
        for (int i = 0; i < ranges.Length; i++)
        {
            MemoryMarshal.Write(
                body.AsSpan(8 + (16 * i)), new VfioIovaRange { Start = ranges[i].Start, End = ranges[i].Last });
        }

        return body;
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

        public DirectMappings Direct { get; } = new(domain);

        public int Groups { get; set; }

        public Errno Attach(Member member, List<ReservedRegion> regions)
        {
            Errno error = Direct.Add(regions, member);
            if (error != Errno.Success)
            {
                return error;
            }

            error = member.Group.Group.Attach(domain);
            if (error != Errno.Success)
            {
                Direct.Remove(member);
                return error;
            }

            member.Domain = this;
            Groups++;
            return Errno.Success;
        }
    }
}
