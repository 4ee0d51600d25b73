using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <content>Page tables of guests and with page requests, fault queues, virtual IOMMUs, what hardware says of itself.</content>
public sealed partial class IommuFd
{
    /// <summary>Reads what the hardware in front of a bound device says of itself.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public unsafe HardwareInfo GetHardwareInfo(VfioDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        byte[] data = new byte[64];
        while (true)
        {
            IommuHwInfo argument;
            fixed (byte* buffer = data)
            {
                argument = new() { DeviceId = device.Id, DataLength = (uint)data.Length, DataAddress = (ulong)buffer };
                IommuException.ThrowIf(Descriptor.Call(ref argument), "IOMMU_GET_HW_INFO", $"device {device.Id}");
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
    public FaultQueue AllocateFaultQueue()
    {
        IommuException.ThrowIf(AllocateFaultQueueErrno(out FaultQueue? queue), "IOMMU_FAULT_QUEUE_ALLOC", $"");
        return queue!;
    }

    /// <summary>Makes a queue that page requests of devices can be given to.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno AllocateFaultQueueErrno(out FaultQueue? queue)
    {
        IommuFaultAlloc argument = default;
        Errno error = Descriptor.Call(ref argument);
        queue = error != Errno.Success
            ? null
            : new(
                new(Descriptor, argument.OutFaultId),
                KernelDescriptor.Own(Descriptor.Kernel, (int)argument.OutFaultFd));
        return error;
    }

    /// <summary>Makes a page table whose devices' page requests go to a queue.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public HardwarePageTable AllocatePageTable(
        VfioDevice device, IoAddressSpace space, FaultQueue faults, HwptAllocFlags flags = HwptAllocFlags.None)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(space);
        ArgumentNullException.ThrowIfNull(faults);
        IommuHwptAlloc argument = new()
        {
            Flags = flags | HwptAllocFlags.FaultIdValid, DeviceId = device.Id, PageTableId = space.Id, FaultId = faults.Id,
        };
        IommuException.ThrowIf(
            Descriptor.Call(ref argument), "IOMMU_HWPT_ALLOC", $"device {device.Id}, address space {space.Id}, queue {faults.Id}");
        return new(new(Descriptor, argument.OutHwptId));
    }

    /// <summary>Makes a guest's page table on a second stage or in a virtual IOMMU.</summary>
    /// <param name="device">The device that it is for.</param>
    /// <param name="madeOn">A table made with <see cref="HwptAllocFlags.NestParent"/>.</param>
    /// <param name="dataType">Kind of the data, as Ioasis.Uapi has them by architecture.</param>
    /// <param name="data">What the guest wants, as Ioasis.Uapi has them by architecture.</param>
    /// <param name="faults">Who gets the devices' page requests, or null.</param>
    /// <param name="flags"><see cref="HwptAllocFlags.Pasid"/> or nothing.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public HardwarePageTable AllocateNestedPageTable<T>(
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
            AllocateNestedErrno(device, madeOn.Id, dataType, data, faults, flags, out HardwarePageTable? table),
            "IOMMU_HWPT_ALLOC",
            $"device {device.Id}, table {madeOn.Id}, data type 0x{dataType:x}");
        return table!;
    }

    /// <summary>Makes a virtual IOMMU: a part of a device's IOMMU for one guest.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VirtualIommu AllocateVirtualIommu(VfioDevice device, HardwarePageTable parent, uint type)
    {
        IommuException.ThrowIf(
            AllocateVirtualIommuErrno(device, parent, type, out VirtualIommu? made),
            "IOMMU_VIOMMU_ALLOC",
            $"device {device.Id}, parent {parent.Id}, type 0x{type:x}");
        return made!;
    }

    /// <summary>Makes a virtual IOMMU: a part of a device's IOMMU for one guest.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno AllocateVirtualIommuErrno(
        VfioDevice device, HardwarePageTable parent, uint type, out VirtualIommu? made)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(parent);
        IommuViommuAlloc argument = new() { Type = type, DeviceId = device.Id, HwptId = parent.Id };
        Errno error = Descriptor.Call(ref argument);
        made = error == Errno.Success ? new(this, new(Descriptor, argument.OutViommuId)) : null;
        return error;
    }

    internal unsafe Errno AllocateNestedErrno<T>(
        VfioDevice device,
        uint madeOn,
        uint dataType,
        in T data,
        FaultQueue? faults,
        HwptAllocFlags flags,
        out HardwarePageTable? table)
        where T : unmanaged
    {
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
        Errno error = Descriptor.Call(ref argument);
        table = error == Errno.Success ? new(new(Descriptor, argument.OutHwptId)) : null;
        return error;
    }
}
