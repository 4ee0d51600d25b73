using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>
/// A container's calls on <c>/dev/iommu</c>: they work on the address space that stands for a container (IOMMU_VFIO_IOAS). A
/// personality of its own: what it answers is iommufd's, where it differs from both of type 1.
/// </content>
internal sealed partial class IommufdFile
{
    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, nint argument, out int result)
    {
        result = 0;
        switch (request)
        {
            case VfioRequests.GetApiVersion:
                return Errno.Success;
            case VfioRequests.CheckExtension:
                result = HasExtension((VfioExtension)argument) ? 1 : 0;
                return Errno.Success;
            case VfioRequests.SetIommu:
                return SetCompatibleKind((VfioExtension)argument);
            default:
                return base.Ioctl(caller, request, argument, out result);
        }
    }

    /// <summary>A group joins: there is an address space that stands for a container from now on.</summary>
    internal Errno JoinCompatible()
    {
        using (_attachLock.Acquire())
        {
            if (Volatile.Read(ref _vfioIoas) is not null)
            {
                return Errno.Success;
            }

            IoasObject ioas = new(this, Kernel.NewAddressSpace(Volatile.Read(ref _rlimitMode) != 0));
            Errno error = _objects.Add(ioas);
            if (error != Errno.Success)
            {
                Kernel.OnAddressSpaceClosed(ioas.Space);
                return error;
            }

            Volatile.Write(ref _vfioIoas, ioas);
            return Errno.Success;
        }
    }

    /// <summary>Binds a device of a group that has joined, and attaches it to the address space.</summary>
    internal Errno OpenCompatible(IommuDevice device, out DeviceObject? bound)
    {
        bound = null;
        using ObjectUse<IoasObject> ioas = UseCompatible(out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        error = Bind(device, out bound);
        if (error == Errno.Success)
        {
            uint id = ioas.Object.Id;
            error = Attach(bound!, ref id);
            if (error != Errno.Success)
            {
                Unbind(bound!);
                bound = null;
            }
        }

        return error;
    }

    private Errno CompatibleCall(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return request switch
        {
            VfioRequests.GetApiVersion => Errno.Success,
            VfioRequests.IommuGetInfo => CompatibleInfo(argument),
            VfioRequests.IommuMapDma => CompatibleMap(caller, argument),
            VfioRequests.IommuUnmapDma => CompatibleUnmap(argument),
            _ => Kernel.Options.IommufdExtension?.Ioctl(new(this, caller), request, argument, out result) ?? Errno.NotTypewriter,
        };
    }

    private ObjectUse<IoasObject> UseCompatible(out Errno error)
    {
        // By its number, which 0 never is.
        ObjectUse<IoasObject> use = _objects.Use<IoasObject>(Volatile.Read(ref _vfioIoas)?.Id ?? 0, out _);
        error = use.IsPresent ? Errno.Success : Errno.NoDevice;
        return use;
    }

    private bool HasExtension(VfioExtension extension) => extension switch
    {
        VfioExtension.Type1 or VfioExtension.Type1V2 or VfioExtension.UnmapAll => true,
        VfioExtension.CoherentDma => Volatile.Read(ref _vfioIoas) is not null,
        _ => false,
    };

    private Errno SetCompatibleKind(VfioExtension kind)
    {
        if (kind is not (VfioExtension.Type1 or VfioExtension.Type1V2))
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<IoasObject> ioas = UseCompatible(out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        // Version 1 may cut mappings anywhere, so no leaf may be larger than a page.
        return kind == VfioExtension.Type1 ? ioas.Object.Space.SetLargePages(false) : Errno.Success;
    }

    private Errno CompatibleMap(KernelProcess caller, ReadOnlySpan<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, Unsafe.SizeOf<VfioIommuType1DmaMap>(), out VfioIommuType1DmaMap map);
        if (error != Errno.Success)
        {
            return error;
        }

        const VfioDmaMapFlags Known = VfioDmaMapFlags.Read | VfioDmaMapFlags.Write;
        if (map.Argsz < (uint)Unsafe.SizeOf<VfioIommuType1DmaMap>() || (map.Flags & ~Known) != 0 || (map.Flags & Known) == 0)
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<IoasObject> ioas = UseCompatible(out error);
        if (error != Errno.Success)
        {
            return error;
        }

        Access access = ((map.Flags & VfioDmaMapFlags.Read) != 0 ? Access.Read : 0)
            | ((map.Flags & VfioDmaMapFlags.Write) != 0 ? Access.Write : 0);
        ulong iova = map.Iova;
        return ioas.Object.Space.Map(caller.PinningOwner, ref iova, isFixed: true, map.Vaddr, map.Size, access);
    }

    private Errno CompatibleUnmap(Span<byte> argument)
    {
        int size = Unsafe.SizeOf<VfioIommuType1DmaUnmap>();
        Errno error = ArgszArgument.Take(argument, size, out VfioIommuType1DmaUnmap unmap);
        if (error != Errno.Success)
        {
            return error;
        }

        bool all = (unmap.Flags & VfioDmaUnmapFlags.All) != 0;
        if (unmap.Argsz < (uint)size
            || (unmap.Flags & ~VfioDmaUnmapFlags.All) != 0
            || (all && (unmap.Iova | unmap.Size) != 0))
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<IoasObject> ioas = UseCompatible(out error);
        if (error != Errno.Success)
        {
            return error;
        }

        ulong unmapped;
        error = all
            ? ioas.Object.Space.UnmapAll(out unmapped)
            : Unmap(ioas.Object.Space, unmap.Iova, unmap.Size, out unmapped);
        if (error != Errno.Success)
        {
            return error;
        }

        unmap.Size = unmapped;
        return ArgszArgument.Give(argument, unmap, size);
    }

    private static Errno Unmap(AddressSpace space, ulong iova, ulong length, out ulong unmapped)
    {
        unmapped = 0;
        if (length == 0)
        {
            return Errno.InvalidArgument;
        }

        if (!AddressRange.TryFromLength(iova, length, out AddressRange range))
        {
            return Errno.Overflow;
        }

        if (!space.LargePages)
        {
            Errno cut = space.Cut(range.Start);
            cut = cut == Errno.Success && range.Last != ulong.MaxValue ? space.Cut(range.Last + 1) : cut;
            if (cut != Errno.Success)
            {
                return cut;
            }
        }

        Errno error = space.Unmap(iova, length, out unmapped);

        // Nothing there is no error; a mapping that is cut is.
        return error == Errno.NoEntry && !space.IsMapped(range) ? Errno.Success : error;
    }

    // Page sizes of what is attached; the capabilities as far as they fit, and their offset only if all do.
    private Errno CompatibleInfo(Span<byte> argument)
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

        using ObjectUse<IoasObject> ioas = UseCompatible(out error);
        if (error != Errno.Success)
        {
            return error;
        }

        AddressRange[] ranges = ioas.Object.Space.GetUsable(out _);
        ulong sizes = ioas.Object.Space.GetPageSizes() & ~(AddressSpace.PageSize - 1);
        return GiveInfo(argument, info.Argsz, sizes, ranges);
    }

    private static Errno GiveInfo(Span<byte> argument, uint given, ulong pageSizes, AddressRange[] ranges)
    {
        int size = Unsafe.SizeOf<VfioIommuType1Info>();
        const int Available = 12;
        const int AvailableAligned = 16;
        int rangesAt = size + AvailableAligned;
        int needed = rangesAt + 16 + (ranges.Length * Unsafe.SizeOf<VfioIovaRange>());

        // What is left of the buffer counts as memory that is not there.
        if (argument.Length < Math.Min(given, needed))
        {
            return Errno.BadAddress;
        }

        VfioIommuType1Info info = new()
        {
            Argsz = (uint)needed,
            Flags = VfioIommuInfoFlags.PageSizes | VfioIommuInfoFlags.Caps,
            IovaPageSizes = pageSizes,
            CapOffset = given >= needed ? (uint)size : 0,
        };
        if (given >= size + Available)
        {
            // The chain goes on if the next header's place is in the buffer, whether or not the capability fits.
            VfioInfoCapHeader header = new()
            {
                Id = VfioIommuType1Info.DmaAvailableCapability,
                Version = 1,
                Next = given >= rangesAt ? (uint)rangesAt : 0,
            };
            MemoryMarshal.Write(argument[size..], header);
            MemoryMarshal.Write(argument[(size + 8)..], uint.MaxValue);
        }

        if (given >= needed)
        {
            MemoryMarshal.Write(
                argument[rangesAt..], new VfioInfoCapHeader { Id = VfioIommuType1Info.IovaRangeCapability, Version = 1 });
            MemoryMarshal.Write(argument[(rangesAt + 8)..], (ulong)ranges.Length);
            for (int i = 0; i < ranges.Length; i++)
            {
                MemoryMarshal.Write(
                    argument[(rangesAt + 16 + (i * Unsafe.SizeOf<VfioIovaRange>()))..],
                    new VfioIovaRange { Start = ranges[i].Start, End = ranges[i].Last });
            }
        }

        return ArgszArgument.Give(argument, info, (int)Math.Min(given, (uint)size));
    }
}
