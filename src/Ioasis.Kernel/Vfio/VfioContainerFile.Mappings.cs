using System.Runtime.CompilerServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Mappings: MAP_DMA and UNMAP_DMA with all their flags.</content>
internal sealed partial class VfioContainerFile
{
    private const VfioDmaMapFlags AccessFlags = VfioDmaMapFlags.Read | VfioDmaMapFlags.Write;

    private Errno Map(KernelProcess caller, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, Unsafe.SizeOf<VfioIommuType1DmaMap>(), out VfioIommuType1DmaMap map);
        if (error != Errno.Success)
        {
            return error;
        }

        // Either an access, or a new address for what is mapped: not both, not neither.
        bool movesAddress = (map.Flags & VfioDmaMapFlags.Vaddr) != 0;
        ulong granule = _space!.Alignment;
        if (map.Argsz < (uint)Unsafe.SizeOf<VfioIommuType1DmaMap>()
            || (map.Flags & ~(AccessFlags | VfioDmaMapFlags.Vaddr)) != 0
            || movesAddress == ((map.Flags & AccessFlags) != 0)
            || map.Size == 0)
        {
            return Errno.InvalidArgument;
        }

        if (!AddressRange.TryFromLength(map.Iova, map.Size, out AddressRange range)
            || !AddressRange.TryFromLength(map.Vaddr, map.Size, out _))
        {
            return Errno.Overflow;
        }

        if (((map.Size | map.Iova | map.Vaddr) & (granule - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        if (movesAddress)
        {
            return _space.FindAddress(range, map.Vaddr);
        }

        if (_space.IsMapped(range))
        {
            return Errno.Exists;
        }

        if (_mappings >= kernel.Options.ContainerMappingLimit)
        {
            return Errno.NoSpace;
        }

        Access access = ((map.Flags & VfioDmaMapFlags.Read) != 0 ? Access.Read : 0)
            | ((map.Flags & VfioDmaMapFlags.Write) != 0 ? Access.Write : 0);
        ulong iova = map.Iova;
        error = _space.Map(caller.Owner, ref iova, isFixed: true, map.Vaddr, map.Size, access);
        _mappings += error == Errno.Success ? 1 : 0;

        // What iommufd calls an overflow is memory that no process can have.
        return error == Errno.Overflow ? Errno.BadAddress : error;
    }

    private Errno Unmap(KernelProcess caller, Span<byte> argument)
    {
        const VfioDmaUnmapFlags Known = VfioDmaUnmapFlags.GetDirtyBitmap | VfioDmaUnmapFlags.All | VfioDmaUnmapFlags.Vaddr;
        int size = Unsafe.SizeOf<VfioIommuType1DmaUnmap>();
        Errno error = ArgszArgument.Take(argument, size, out VfioIommuType1DmaUnmap unmap);
        if (error != Errno.Success)
        {
            return error;
        }

        bool all = (unmap.Flags & VfioDmaUnmapFlags.All) != 0;
        bool wantsDirty = (unmap.Flags & VfioDmaUnmapFlags.GetDirtyBitmap) != 0;
        bool losesAddress = (unmap.Flags & VfioDmaUnmapFlags.Vaddr) != 0;
        if (unmap.Argsz < (uint)size || (unmap.Flags & ~Known) != 0 || (wantsDirty && (all || losesAddress)))
        {
            return Errno.InvalidArgument;
        }

        VfioBitmap bitmap = default;
        error = wantsDirty ? TakeBitmap(argument, unmap.Argsz, size, unmap.Size, out bitmap) : Errno.Success;
        if (error != Errno.Success)
        {
            return error;
        }

        AddressRange range = AddressRange.All;
        if (all
            ? (unmap.Iova | unmap.Size) != 0
            : unmap.Size == 0 || ((unmap.Iova | unmap.Size) & (_space!.Alignment - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        if (!all && !AddressRange.TryFromLength(unmap.Iova, unmap.Size, out range))
        {
            return Errno.Overflow;
        }

        bool isVersion2 = _isVersion2 || all;
        if (losesAddress)
        {
            error = _space!.InvalidateUserAddresses(range, isVersion2, out ulong bytes);
            unmap.Size = bytes;
            return error == Errno.Success ? ArgszArgument.Give(argument, unmap, size) : error;
        }

        if (wantsDirty)
        {
            if (!_tracksDirty || bitmap.PageSize != _space!.Alignment || _space.IsCut(range))
            {
                return Errno.InvalidArgument;
            }

            // Before anything goes: a bitmap that cannot be written leaves everything mapped.
            error = WriteDirty(caller, bitmap, range);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        error = _space!.UnmapByVfioRules(range, isVersion2, out ulong unmapped, out int mappings, out _);
        _mappings -= mappings;
        if (error != Errno.Success)
        {
            return error;
        }

        unmap.Size = unmapped;
        return ArgszArgument.Give(argument, unmap, size);
    }
}
