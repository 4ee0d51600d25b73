using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>What the hardware in front of a device says of itself.</summary>
/// <param name="Type">Layout of <paramref name="Data"/>, as Ioasis.Uapi has them by architecture; 0 for none.</param>
/// <param name="Data">The description.</param>
/// <param name="PasidBits">PASID bits of the device, 0 if it has none.</param>
/// <param name="Capabilities">What every kind of hardware can say.</param>
public sealed record HardwareInfo(uint Type, ReadOnlyMemory<byte> Data, int PasidBits, HwCapabilities Capabilities);

/// <summary>
/// The calls on an <see cref="IommuFd"/> for user-managed and special page tables, PASIDs, fault queues and virtual IOMMUs.
/// </summary>
public static class HardwareCalls
{
    /// <summary>Reads what the hardware in front of a bound device says of itself.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static unsafe HardwareInfo GetHardwareInfo(this IommuFd iommu, VfioDevice device)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        ArgumentNullException.ThrowIfNull(device);
        byte[] data = new byte[64];
        while (true)
        {
            IommuHwInfo argument;
            fixed (byte* buffer = data)
            {
                argument = new() { DeviceId = device.Id, DataLength = (uint)data.Length, DataAddress = (ulong)buffer };
                IommuException.ThrowIf(iommu.Descriptor.Call(ref argument), "IOMMU_GET_HW_INFO", $"device {device.Id}");
            }

            if (argument.DataLength <= (uint)data.Length)
            {
                return new(
                    argument.DataType, data.AsMemory(0, (int)argument.DataLength), argument.OutMaxPasidLog2, argument.OutCapabilities);
            }

            data = new byte[argument.DataLength];
        }
    }

    /// <summary>Makes a queue that page requests of devices can be given to.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static FaultQueue AllocateFaultQueue(this IommuFd iommu)
    {
        IommuException.ThrowIf(AllocateFaultQueueErrno(iommu, out FaultQueue? queue), "IOMMU_FAULT_QUEUE_ALLOC", $"");
        return queue!;
    }

    /// <summary>Makes a queue that page requests of devices can be given to.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno AllocateFaultQueueErrno(this IommuFd iommu, out FaultQueue? queue)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        IommuFaultAlloc argument = default;
        Errno error = iommu.Descriptor.Call(ref argument);
        queue = error != Errno.Success
            ? null
            : new(
                new(iommu.Descriptor, argument.OutFaultId),
                KernelDescriptor.Own(iommu.Descriptor.Kernel, (int)argument.OutFaultFd));
        return error;
    }

    /// <summary>Makes a page table whose devices' page requests go to a queue.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static HardwarePageTable AllocatePageTable(
        this IommuFd iommu, VfioDevice device, IoAddressSpace space, FaultQueue faults, HwptAllocFlags flags = HwptAllocFlags.None)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(space);
        ArgumentNullException.ThrowIfNull(faults);
        IommuHwptAlloc argument = new()
        {
            Flags = flags | HwptAllocFlags.FaultIdValid, DeviceId = device.Id, PageTableId = space.Id, FaultId = faults.Id,
        };
        IommuException.ThrowIf(
            iommu.Descriptor.Call(ref argument), "IOMMU_HWPT_ALLOC", $"device {device.Id}, address space {space.Id}, queue {faults.Id}");
        return new(new(iommu.Descriptor, argument.OutHwptId));
    }

    /// <summary>Makes a guest's page table on a second stage or in a virtual IOMMU.</summary>
    /// <param name="iommu">The descriptor.</param>
    /// <param name="device">The device that it is for.</param>
    /// <param name="madeOn">A table made with <see cref="HwptAllocFlags.NestParent"/>.</param>
    /// <param name="dataType">Kind of the data, as Ioasis.Uapi has them by architecture.</param>
    /// <param name="data">What the guest wants, as Ioasis.Uapi has them by architecture.</param>
    /// <param name="faults">Who gets the devices' page requests, or null.</param>
    /// <param name="flags"><see cref="HwptAllocFlags.Pasid"/> or nothing.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static HardwarePageTable AllocateNestedPageTable<T>(
        this IommuFd iommu,
        VfioDevice device,
        HardwarePageTable madeOn,
        uint dataType,
        in T data,
        FaultQueue? faults = null,
        HwptAllocFlags flags = HwptAllocFlags.None)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(madeOn);
        IommuException.ThrowIf(
            AllocateNestedErrno(iommu, device, madeOn.Id, dataType, data, faults, flags, out HardwarePageTable? table),
            "IOMMU_HWPT_ALLOC",
            $"device {device.Id}, table {madeOn.Id}, data type 0x{dataType:x}");
        return table!;
    }

    /// <summary>Makes a virtual IOMMU: a part of a device's IOMMU for one guest.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static VirtualIommu AllocateVirtualIommu(this IommuFd iommu, VfioDevice device, HardwarePageTable parent, uint type)
    {
        IommuException.ThrowIf(
            AllocateVirtualIommuErrno(iommu, device, parent, type, out VirtualIommu? made),
            "IOMMU_VIOMMU_ALLOC",
            $"device {device.Id}, parent {parent.Id}, type 0x{type:x}");
        return made!;
    }

    /// <summary>Makes a virtual IOMMU: a part of a device's IOMMU for one guest.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno AllocateVirtualIommuErrno(
        this IommuFd iommu, VfioDevice device, HardwarePageTable parent, uint type, out VirtualIommu? made)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parent);
        IommuViommuAlloc argument = new() { Type = type, DeviceId = device.Id, HwptId = parent.Id };
        Errno error = iommu.Descriptor.Call(ref argument);
        made = error == Errno.Success ? new(iommu, new(iommu.Descriptor, argument.OutViommuId)) : null;
        return error;
    }

    /// <summary>Attaches a PASID of a device to a table made with <see cref="HwptAllocFlags.Pasid"/>, or switches it there.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static void AttachPasid(this VfioDevice device, Pasid pasid, HardwarePageTable table) =>
        IommuException.ThrowIf(
            AttachPasidErrno(device, pasid, table), "VFIO_DEVICE_ATTACH_IOMMUFD_PT", $"{device.Path}, PASID {pasid}, table {table.Id}");

    /// <summary>Attaches a PASID of a device to a table made with <see cref="HwptAllocFlags.Pasid"/>, or switches it there.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno AttachPasidErrno(this VfioDevice device, Pasid pasid, HardwarePageTable table)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(table);
        VfioDeviceAttachIommufdPt argument = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioDeviceAttachIommufdPt>(), Flags = VfioAttachFlags.Pasid, PageTableId = table.Id,
            Pasid = pasid.Value,
        };
        return device.Descriptor.Call(
            VfioRequests.DeviceAttachIommufdPt, MemoryMarshal.AsBytes(new Span<VfioDeviceAttachIommufdPt>(ref argument)));
    }

    /// <summary>Detaches a PASID of a device: its DMA faults. Harmless if it is not attached.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno DetachPasidErrno(this VfioDevice device, Pasid pasid)
    {
        ArgumentNullException.ThrowIfNull(device);
        VfioDeviceDetachIommufdPt argument = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioDeviceDetachIommufdPt>(), Flags = VfioAttachFlags.Pasid, Pasid = pasid.Value,
        };
        return device.Descriptor.Call(
            VfioRequests.DeviceDetachIommufdPt, MemoryMarshal.AsBytes(new Span<VfioDeviceDetachIommufdPt>(ref argument)));
    }

    internal static unsafe Errno AllocateNestedErrno<T>(
        IommuFd iommu,
        VfioDevice device,
        uint madeOn,
        uint dataType,
        in T data,
        FaultQueue? faults,
        HwptAllocFlags flags,
        out HardwarePageTable? table)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(iommu);
        ArgumentNullException.ThrowIfNull(device);
        T copy = data;
        IommuHwptAlloc argument = new()
        {
            Flags = flags | (faults is null ? 0 : HwptAllocFlags.FaultIdValid),
            DeviceId = device.Id,
            PageTableId = madeOn,
            DataType = (HwptDataType)dataType,
            DataLength = (uint)sizeof(T),
            DataAddress = (ulong)&copy,
            FaultId = faults?.Id ?? 0,
        };
        Errno error = iommu.Descriptor.Call(ref argument);
        table = error == Errno.Success ? new(new(iommu.Descriptor, argument.OutHwptId)) : null;
        return error;
    }

    internal static unsafe Errno InvalidateErrno<T>(KernelObject handle, uint dataType, ReadOnlySpan<T> entries, out int done)
        where T : unmanaged
    {
        fixed (T* start = entries)
        {
            IommuHwptInvalidate argument = new()
            {
                HwptId = handle.Id, DataAddress = (ulong)start, DataType = dataType, EntryLength = (uint)sizeof(T),
                EntryCount = (uint)entries.Length,
            };
            Errno error = handle.Owner.Call(ref argument);
            done = (int)argument.EntryCount;
            return error;
        }
    }
}
