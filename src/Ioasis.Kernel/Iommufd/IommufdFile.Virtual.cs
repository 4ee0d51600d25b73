using System.Buffers;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Virtual IOMMUs, their devices and event queues, and what guests invalidate.</content>
internal sealed partial class IommufdFile
{
    // Entries of an invalidation are carried out in portions of at most this size.
    private const int InvalidateChunk = 4096;

    /// <summary>A guest's name for a device is gone, by a call or with the device.</summary>
    internal void ForgetVirtualDevice(VirtualDeviceObject known)
    {
        using (_attachLock.Acquire())
        {
            known.VirtualIommu.Virtual.RemoveDevice(known.Device.Device);
            known.Device.Virtual = null;
        }
    }

    private static Errno ViommuAllocCall(IommufdFile file, KernelProcess caller, ref IommuViommuAlloc argument)
    {
        // The kind that is none. What stands behind the oldest version of the structure is checked too.
        if (argument.Flags != 0 || argument.Type == 0 || argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        using ObjectUse<DeviceObject> device = file._objects.Use<DeviceObject>(argument.DeviceId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        using ObjectUse<PageTableObject> parent = file._objects.Use<PageTableObject>(argument.HwptId, out error);
        if (error == Errno.Success)
        {
            error = file.AllocateVirtualIommu(caller, device.Object.Device, parent.Object, argument, out VirtualIommuObject? made);
            argument.OutViommuId = made?.Id ?? argument.OutViommuId;
        }

        return error;
    }

    private Errno AllocateVirtualIommu(
        KernelProcess caller, IommuDevice device, PageTableObject parent, in IommuViommuAlloc argument, out VirtualIommuObject? made)
    {
        made = null;
        if ((parent.Traits & HwptTraits.NestParent) == 0)
        {
            return Errno.InvalidArgument;
        }

        Errno error = ReadDriverData(caller, argument.DataAddress, argument.DataLength, out byte[] data);
        if (error != Errno.Success)
        {
            return error;
        }

        byte[] answer = [.. data];
        error = device.Iommu.TryAllocateVirtualIommu(device, parent.PagingDomain, argument.Type, answer, out VirtualIommu? part);
        if (error == Errno.Success && !answer.AsSpan().SequenceEqual(data))
        {
            error = caller.Memory.Write(argument.DataAddress, answer);
        }

        if (error != Errno.Success)
        {
            part?.Dispose();
            return error;
        }

        VirtualIommuObject added = new(device.Iommu, parent, part!);
        error = _objects.Add(added);
        if (error != Errno.Success)
        {
            added.Destroy();
            return error;
        }

        made = added;
        return Errno.Success;
    }

    private static Errno VdeviceAllocCall(IommufdFile file, KernelProcess caller, ref IommuVdeviceAlloc argument)
    {
        using ObjectUse<VirtualIommuObject> virtualIommu = file._objects.Use<VirtualIommuObject>(argument.ViommuId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        using ObjectUse<DeviceObject> device = file._objects.Use<DeviceObject>(argument.DeviceId, out error);
        if (error == Errno.Success)
        {
            error = file.AllocateVirtualDevice(virtualIommu.Object, device.Object, argument.VirtualId, out uint id);
            argument.OutVdeviceId = error == Errno.Success ? id : argument.OutVdeviceId;
        }

        return error;
    }

    private Errno AllocateVirtualDevice(VirtualIommuObject virtualIommu, DeviceObject device, ulong name, out uint id)
    {
        id = 0;
        if (virtualIommu.Iommu != device.Device.Iommu)
        {
            return Errno.InvalidArgument;
        }

        using (_attachLock.Acquire())
        {
            if (device.IsGoing)
            {
                return Errno.NoEntry;
            }

            if (device.Virtual is not null || !virtualIommu.TryTakeName(name))
            {
                return Errno.Exists;
            }

            Errno error = virtualIommu.Virtual.AddDevice(device.Device, name);
            if (error != Errno.Success)
            {
                virtualIommu.ReleaseName(name);
                return error;
            }

            VirtualDeviceObject known = new(this, virtualIommu, device, name);
            error = _objects.Add(known);
            if (error != Errno.Success)
            {
                virtualIommu.Virtual.RemoveDevice(device.Device);
                virtualIommu.ReleaseName(name);
                virtualIommu.Release();
                return error;
            }

            device.Virtual = known;
            id = known.Id;
            return Errno.Success;
        }
    }

    // Of events that a queue holds and of entries of an invalidation: Linux 7.2 takes no more.
    private const uint LargestCount = 1u << 19;

    private static Errno VeventqAllocCall(IommufdFile file, KernelProcess caller, ref IommuVeventqAlloc argument)
    {
        if (argument.Flags != 0 || argument.Reserved != 0 || argument.Type == 0)
        {
            return Errno.NotSupported;
        }

        if (argument.Depth is 0 or > LargestCount)
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<VirtualIommuObject> virtualIommu = file._objects.Use<VirtualIommuObject>(argument.ViommuId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        return virtualIommu.Object.Virtual.SupportsEvents(argument.Type)
            ? file.AllocateEventQueue(caller, virtualIommu.Object, ref argument)
            : Errno.NotSupported;
    }

    private Errno AllocateEventQueue(KernelProcess caller, VirtualIommuObject virtualIommu, ref IommuVeventqAlloc argument)
    {
        VirtualEventQueueObject queue = new(virtualIommu, argument.Type, argument.Depth);
        if (!virtualIommu.TryAdd(queue))
        {
            virtualIommu.Release();
            return Errno.Exists;
        }

        Errno error = AddQueue(caller, queue, out int descriptor);
        if (error == Errno.Success)
        {
            argument.OutVeventqId = queue.Id;
            argument.OutVeventqFd = (uint)descriptor;
        }

        return error;
    }

    private static Errno HwQueueAllocCall(IommufdFile file, KernelProcess caller, ref IommuHwQueueAlloc argument)
    {
        if (argument.Flags != 0 || argument.Type == 0)
        {
            return Errno.NotSupported;
        }

        if (argument.Length == 0)
        {
            return Errno.InvalidArgument;
        }

        if (!AddressRange.TryFromLength(argument.NestingParentIova, argument.Length, out AddressRange range))
        {
            return Errno.Overflow;
        }

        using ObjectUse<VirtualIommuObject> virtualIommu = file._objects.Use<VirtualIommuObject>(argument.ViommuId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        if (!virtualIommu.Object.Virtual.SupportsQueues(argument.Type))
        {
            return Errno.NotSupported;
        }

        error = HardwareQueueObject.TryMake(
            virtualIommu.Object, argument.Type, argument.Index, range, out HardwareQueueObject? queue);
        if (error != Errno.Success)
        {
            return error;
        }

        error = file._objects.Add(queue!);
        if (error != Errno.Success)
        {
            queue!.Destroy();
            return error;
        }

        argument.OutHwQueueId = queue!.Id;
        return Errno.Success;
    }

    // The number of entries that were carried out is told in any case.
    private static Errno InvalidateCall(IommufdFile file, KernelProcess caller, ref IommuHwptInvalidate argument)
    {
        uint count = argument.EntryCount;
        argument.EntryCount = 0;
        if (argument.Reserved != 0)
        {
            return Errno.NotSupported;
        }

        if (count > LargestCount
            || (count > 0 && (argument.DataAddress == 0 || argument.EntryLength is 0 or > MaxDriverData)))
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<KernelObject> target = file._objects.Use<KernelObject>(argument.HwptId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        return target.Object is NestedTableObject or VirtualIommuObject
            ? Invalidate(caller, target.Object, count, ref argument)
            : Errno.InvalidArgument;
    }

    private static Errno Invalidate(KernelProcess caller, KernelObject target, uint count, ref IommuHwptInvalidate argument)
    {
        if (count == 0)
        {
            // Asks only whether the kind is known.
            return InvalidateSome(target, argument.DataType, [], 1, ref count);
        }

        int length = (int)argument.EntryLength;
        uint portion = (uint)Math.Max(1, InvalidateChunk / length);
        byte[] buffer = ArrayPool<byte>.Shared.Rent((int)portion * length);
        Errno error = Errno.Success;
        ulong address = argument.DataAddress;
        while (argument.EntryCount < count && error == Errno.Success)
        {
            uint some = Math.Min(portion, count - argument.EntryCount);
            Span<byte> entries = buffer.AsSpan(0, (int)some * length);
            error = caller.Memory.Read(address, entries);
            if (error == Errno.Success)
            {
                uint done = some;
                error = InvalidateSome(target, argument.DataType, entries, length, ref done);
                argument.EntryCount += done;
                address += (ulong)entries.Length;
            }
        }

        ArrayPool<byte>.Shared.Return(buffer);
        return error;
    }

    private static Errno InvalidateSome(KernelObject target, uint type, ReadOnlySpan<byte> entries, int length, ref uint count) =>
        target switch
        {
            NestedTableObject table => table.Invalidate(type, entries, length, ref count),
            VirtualIommuObject part => part.Virtual.Invalidate(type, entries, length, ref count),
            _ => Errno.InvalidArgument,
        };
}
