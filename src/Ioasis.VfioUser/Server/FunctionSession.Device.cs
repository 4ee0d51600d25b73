using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <content>What is VFIO's own: information, regions, interrupts. The structures are the kernel's, and so are the checks of their form.</content>
internal sealed partial class FunctionSession
{
    // VFIO_DEVICE_GET_INFO as the protocol has it ends before the offset of capabilities.
    private const int InfoBytes = 16;

    private Errno GetInfo(ReadOnlySpan<byte> payload)
    {
        Span<byte> argument = stackalloc byte[Unsafe.SizeOf<VfioDeviceInfo>()];
        Errno error = TakeStructure(payload, InfoBytes, argument);
        if (error == Errno.Success)
        {
            error = VfioDeviceCalls.Ioctl(_events, _backend, VfioRequests.DeviceGetInfo, argument);
            MemoryMarshal.Write(argument, (uint)InfoBytes);
            Put(argument[..InfoBytes]);
        }

        return error;
    }

    private Errno GetInterruptInfo(ReadOnlySpan<byte> payload)
    {
        Span<byte> argument = stackalloc byte[Unsafe.SizeOf<VfioIrqInfo>()];
        Errno error = TakeStructure(payload, argument.Length, argument);
        if (error == Errno.Success)
        {
            error = VfioDeviceCalls.Ioctl(_events, _backend, VfioRequests.DeviceGetIrqInfo, argument);
            MemoryMarshal.Write(argument, (uint)argument.Length);
            Put(argument);
        }

        return error;
    }

    private Errno GetRegionInfo(ReadOnlySpan<byte> payload)
    {
        VfioRegionInfo info = default;
        Errno error = TakeStructure(payload, VfioRegionInfo.MinimumSize, MemoryMarshal.AsBytes(new Span<VfioRegionInfo>(ref info)));
        if (error != Errno.Success || info.Argsz < VfioRegionInfo.MinimumSize || info.Index >= (uint)_backend.RegionCount)
        {
            return Errno.InvalidArgument;
        }

        error = _backend.GetRegion((int)info.Index, out DeviceRegion region);
        if (error != Errno.Success)
        {
            return error;
        }

        ulong fileOffset = 0;
        region = region with { Areas = SelectAreas(region) };
        if (region.Areas is null || !TryMapRegion((int)info.Index, region.Areas[0], out fileOffset))
        {
            region = new(region.Size, region.Flags & ~VfioRegionFlags.Mmap);
        }

        byte[] chain = VfioDeviceCalls.Describe(region)?.Bytes.ToArray() ?? [];
        uint room = info.Argsz;
        info = new()
        {
            Argsz = (uint)(VfioRegionInfo.MinimumSize + chain.Length),
            Index = info.Index,
            Flags = region.Size == 0 ? VfioRegionFlags.None : region.Flags | (chain.Length > 0 ? VfioRegionFlags.Caps : VfioRegionFlags.None),
            Size = region.Size,
            Offset = fileOffset,

            // Said also where there is no room: QEMU takes anything else for a mistake.
            CapOffset = chain.Length > 0 ? VfioRegionInfo.MinimumSize : 0u,
        };
        Put(info);

        // A client that has not enough room learns how much it is, and asks again.
        if (room >= info.Argsz)
        {
            Put(chain);
        }

        return Errno.Success;
    }

    // Nothing tells of a store to a mapped page: registers at which the device does not look by itself stay with messages.
    private List<DeviceArea>? SelectAreas(in DeviceRegion region)
    {
        List<DeviceArea>? areas = region.Areas?
            .Where(area => area.Kind == DeviceAreaKind.Memory || (area.Kind == DeviceAreaKind.Doorbells && _options.MapDoorbells))
            .ToList();
        return areas is { Count: > 0 } && _agreement.MaxDescriptors > 0 ? areas : null;
    }

    private bool TryMapRegion(int index, in DeviceArea first, out ulong fileOffset)
    {
        fileOffset = 0;
        if (_backend.MapFile(index, first.Offset, first.Size, out SafeFileHandle? file, out long offset) != Errno.Success)
        {
            return false;
        }

        _replyDescriptor = file;
        fileOffset = (ulong)offset - first.Offset;
        return true;
    }

    // No device here has registers that a hypervisor can write by a counter alone.
    private Errno GetRegionIoFds(ReadOnlySpan<byte> payload)
    {
        if (payload.Length < RegionIoFdsStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        RegionIoFdsStructure request = MemoryMarshal.Read<RegionIoFdsStructure>(payload);
        if (request.Argsz < RegionIoFdsStructure.Bytes || request.Flags != 0 || request.Count != 0 || request.Index >= (uint)_backend.RegionCount)
        {
            return Errno.InvalidArgument;
        }

        Put(request with { Argsz = RegionIoFdsStructure.Bytes });
        return Errno.Success;
    }

    // Counters are beside the message, one a vector; none means that the vectors have none any more.
    private Errno SetInterrupts(Message request)
    {
        ReadOnlySpan<byte> payload = request.Payload;
        if (payload.Length < VfioIrqSet.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        VfioIrqSet set = MemoryMarshal.Read<VfioIrqSet>(payload);
        bool isEvents = (set.Flags & VfioIrqSetFlags.DataTypeMask) == VfioIrqSetFlags.DataEventFd;
        if (!isEvents)
        {
            Span<byte> copy = Reserve(payload.Length);
            payload.CopyTo(copy);
            MemoryMarshal.Write(copy, Math.Min(set.Argsz, (uint)payload.Length));
            return SetInterrupts(copy);
        }

        if (set.Count > MostVectors || (request.DescriptorCount != 0 && request.DescriptorCount != (int)set.Count))
        {
            return Errno.InvalidArgument;
        }

        Span<byte> argument = Reserve(VfioIrqSet.MinimumSize + ((int)set.Count * sizeof(int)));
        set.Argsz = Math.Min(set.Argsz, VfioIrqSet.MinimumSize) == VfioIrqSet.MinimumSize ? (uint)argument.Length : set.Argsz;
        MemoryMarshal.AsBytes(new ReadOnlySpan<VfioIrqSet>(in set))[..VfioIrqSet.MinimumSize].CopyTo(argument);
        Span<int> counters = MemoryMarshal.Cast<byte, int>(argument[VfioIrqSet.MinimumSize..]);
        for (int i = 0; i < counters.Length; i++)
        {
            counters[i] = request.DescriptorCount == 0 ? -1 : i;
        }

        return SetInterrupts(argument);
    }

    private Errno SetInterrupts(Span<byte> argument)
    {
        Errno error = VfioDeviceCalls.Ioctl(_events, _backend, VfioRequests.DeviceSetIrqs, argument);
        _replyLength = 0;
        return error;
    }

    // More than MSI-X can have.
    private const uint MostVectors = 2048;

    private Errno ReadRegion(ReadOnlySpan<byte> payload)
    {
        if (payload.Length != RegionAccessStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        RegionAccessStructure access = MemoryMarshal.Read<RegionAccessStructure>(payload);
        Errno error = CheckAccess(access.Offset, access.Region, access.Count, _agreement.MaxTransfer);
        if (error != Errno.Success)
        {
            return error;
        }

        Put(access);
        Span<byte> data = Reserve((int)access.Count);
        int count = 0;
        error = data.IsEmpty ? Errno.Success : _backend.Read((int)access.Region, access.Offset, data, out count);
        return error == Errno.Success && count != data.Length ? Errno.InvalidArgument : error;
    }

    private Errno WriteRegion(ReadOnlySpan<byte> payload)
    {
        if (payload.Length < RegionAccessStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        RegionAccessStructure access = MemoryMarshal.Read<RegionAccessStructure>(payload);
        ReadOnlySpan<byte> data = payload[RegionAccessStructure.Bytes..];
        if (data.Length != access.Count)
        {
            return Errno.InvalidArgument;
        }

        Put(access);
        return WriteRegion(access.Offset, access.Region, data);
    }

    // The answer says how many were done: the first that cannot be done ends it.
    private Errno WriteRegions(ReadOnlySpan<byte> payload)
    {
        if (payload.Length < sizeof(ulong))
        {
            return Errno.InvalidArgument;
        }

        ulong wanted = MemoryMarshal.Read<ulong>(payload);
        payload = payload[sizeof(ulong)..];
        if (wanted > (ulong)payload.Length || (int)wanted * RegionWriteStructure.Bytes != payload.Length)
        {
            return Errno.InvalidArgument;
        }

        ulong done = 0;
        Errno error = Errno.Success;
        for (; done < wanted; done++)
        {
            RegionWriteStructure write = MemoryMarshal.Read<RegionWriteStructure>(payload[((int)done * RegionWriteStructure.Bytes)..]);
            ulong value = write.Data;
            error = write.Count is 0 or > sizeof(ulong)
                ? Errno.InvalidArgument
                : WriteRegion(write.Offset, write.Region, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value))[..(int)write.Count]);
            if (error != Errno.Success)
            {
                break;
            }
        }

        Put(done);
        return done > 0 ? Errno.Success : error;
    }

    private Errno WriteRegion(ulong offset, uint region, ReadOnlySpan<byte> data)
    {
        Errno error = CheckAccess(offset, region, (uint)data.Length, _agreement.MaxTransfer);
        int count = 0;
        if (error == Errno.Success && !data.IsEmpty)
        {
            if (region == (uint)VfioPciRegion.Config && data.Length == sizeof(uint))
            {
                _options.Accesses?.ConfigWrite(_id, offset, MemoryMarshal.Read<uint>(data));
            }

            error = _backend.Write((int)region, offset, data, out count);
        }

        return error == Errno.Success && count != data.Length ? Errno.InvalidArgument : error;
    }

    // What the backend may be asked: it wants offsets below 2^40.
    private Errno CheckAccess(ulong offset, uint region, uint count, int most) =>
        count > (uint)most ? Errno.ArgumentTooBig
        : region >= (uint)_backend.RegionCount || offset >= 1ul << 40 ? Errno.InvalidArgument
        : Errno.Success;

    // The first bytes of a structure that both ends have; what else the client sent belongs to later versions.
    private static Errno TakeStructure(ReadOnlySpan<byte> payload, int bytes, Span<byte> structure)
    {
        if (payload.Length < bytes)
        {
            return Errno.InvalidArgument;
        }

        payload[..Math.Min(payload.Length, structure.Length)].CopyTo(structure);
        return Errno.Success;
    }
}
