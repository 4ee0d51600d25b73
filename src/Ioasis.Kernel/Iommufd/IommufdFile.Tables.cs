using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Page tables as objects: of the kernel on an address space, and of a guest on one of those.</content>
internal sealed partial class IommufdFile
{
    private const HwptAllocFlags KnownPagingFlags =
        HwptAllocFlags.NestParent | HwptAllocFlags.DirtyTracking | HwptAllocFlags.FaultIdValid | HwptAllocFlags.Pasid;

    private const HwptAllocFlags KnownNestedFlags = HwptAllocFlags.FaultIdValid | HwptAllocFlags.Pasid;

    // What a driver is told of a guest's tables, a virtual IOMMU or an entry of an invalidation is never larger.
    private const uint MaxDriverData = 4096;

    /// <summary>A table is gone: its address space need not know it any more.</summary>
    internal void ForgetTable(PageTableObject table)
    {
        using (_attachLock.Acquire())
        {
            _ = table.Ioas.Tables.Remove(table);
        }
    }

    // In this order: so Linux.
    private static Errno HwptAllocCall(IommufdFile file, KernelProcess caller, ref IommuHwptAlloc argument)
    {
        if (argument.Reserved != 0 || argument.Reserved2 != 0)
        {
            return Errno.NotSupported;
        }

        if ((argument.DataType == HwptDataType.None) != (argument.DataLength == 0))
        {
            return Errno.InvalidArgument;
        }

        using ObjectUse<DeviceObject> device = file._objects.Use<DeviceObject>(argument.DeviceId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        // A number that leads nowhere is an invalid argument here, unlike elsewhere: so Linux.
        using ObjectUse<KernelObject> target = file._objects.Use<KernelObject>(argument.PageTableId, out _);
        HwptObject? made = null;
        error = target.ObjectOrNull switch
        {
            IoasObject ioas => file.AllocatePaging(caller, device.Object.Device, ioas, argument, out made),
            PageTableObject parent => file.AllocateNested(caller, device.Object.Device, parent, argument, out made),
            VirtualIommuObject virtualIommu => file.AllocateNested(caller, device.Object.Device, virtualIommu, argument, out made),
            _ => Errno.InvalidArgument,
        };
        argument.OutHwptId = made?.Id ?? argument.OutHwptId;
        return error;
    }

    private Errno AllocatePaging(
        KernelProcess caller, IommuDevice device, IoasObject ioas, in IommuHwptAlloc argument, out HwptObject? made)
    {
        made = null;
        IommuCapabilities capabilities = device.Iommu.Capabilities;
        bool nestParent = (argument.Flags & HwptAllocFlags.NestParent) != 0;
        bool dirty = (argument.Flags & HwptAllocFlags.DirtyTracking) != 0;
        bool pasid = (argument.Flags & HwptAllocFlags.Pasid) != 0;
        bool fault = (argument.Flags & HwptAllocFlags.FaultIdValid) != 0;

        // A table that PASIDs may have can be made everywhere: whether a device has PASIDs turns out when it is attached.
        if ((argument.Flags & ~KnownPagingFlags) != 0
            || (argument.DataType != HwptDataType.None && !device.Iommu.TakesPagingData((uint)argument.DataType))
            || (nestParent && (!capabilities.Nesting || fault))
            || (dirty && !capabilities.DirtyTracking))
        {
            return Errno.NotSupported;
        }

        HwptTraits traits = (nestParent ? HwptTraits.NestParent : 0)
            | (dirty ? HwptTraits.DirtyTracking : 0)
            | (pasid ? HwptTraits.Pasid : 0);
        Errno error = ReadDriverData(caller, argument.DataAddress, argument.DataLength, out byte[] data);
        if (error != Errno.Success)
        {
            return error;
        }

        using ObjectUse<FaultQueueObject> faults = UseFaults(argument, out error);
        if (error != Errno.Success)
        {
            return error;
        }

        using (_attachLock.Acquire())
        {
            using ObjectUse<PageTableObject> table = AddTable(
                device, ioas, traits, faults.ObjectOrNull, (uint)argument.DataType, data, out error);
            made = table.ObjectOrNull;
        }

        return error;
    }

    private Errno AllocateNested(
        KernelProcess caller, IommuDevice device, PageTableObject parent, in IommuHwptAlloc argument, out HwptObject? made)
    {
        made = null;
        if ((argument.Flags & ~KnownNestedFlags) != 0 || argument.DataLength == 0)
        {
            return Errno.NotSupported;
        }

        return (parent.Traits & HwptTraits.NestParent) == 0
            ? Errno.InvalidArgument
            : AddNested(caller, device, parent, null, argument, out made);
    }

    private Errno AllocateNested(
        KernelProcess caller, IommuDevice device, VirtualIommuObject virtualIommu, in IommuHwptAlloc argument, out HwptObject? made)
    {
        made = null;
        if (virtualIommu.Iommu != device.Iommu)
        {
            return Errno.InvalidArgument;
        }

        return (argument.Flags & ~KnownNestedFlags) != 0 || argument.DataLength == 0
            ? Errno.NotSupported
            : AddNested(caller, device, virtualIommu.Parent, virtualIommu, argument, out made);
    }

    private Errno AddNested(
        KernelProcess caller,
        IommuDevice device,
        PageTableObject parent,
        VirtualIommuObject? virtualIommu,
        in IommuHwptAlloc argument,
        out HwptObject? made)
    {
        made = null;
        Errno error = ReadDriverData(caller, argument.DataAddress, argument.DataLength, out byte[] data);
        if (error != Errno.Success)
        {
            return error;
        }

        uint type = (uint)argument.DataType;
        NestedDomain? domain = null;
        error = virtualIommu is null
            ? device.Iommu.TryAllocateNestedDomain(device, parent.PagingDomain, type, data, out domain)
            : virtualIommu.Virtual.TryAllocateNestedDomain(device, type, data, out domain);
        if (error != Errno.Success)
        {
            return error;
        }

        NestedTableObject table = new(
            domain!, parent, (KernelObject?)virtualIommu ?? parent, (argument.Flags & HwptAllocFlags.Pasid) != 0);
        using ObjectUse<FaultQueueObject> faults = UseFaults(argument, out error);
        if (error == Errno.Success)
        {
            if (faults.IsPresent)
            {
                table.SetFaults(faults.Object);
            }

            error = _objects.Add(table);
        }

        if (error != Errno.Success)
        {
            table.Destroy();
            return error;
        }

        made = table;
        return Errno.Success;
    }

    // The new table, used: from the moment it has a number, anybody may ask to destroy it. None if there is an error.
    private ObjectUse<PageTableObject> AddTable(
        IommuDevice device,
        IoasObject ioas,
        HwptTraits traits,
        FaultQueueObject? faults,
        uint dataType,
        byte[] data,
        out Errno error)
    {
        error = PageTableObject.TryMake(this, ioas, device, traits, dataType, data, out PageTableObject? table);
        if (error != Errno.Success)
        {
            return default;
        }

        if (faults is not null)
        {
            table!.SetFaults(faults);
        }

        ObjectUse<PageTableObject> use = new(table);
        error = _objects.Add(table!);
        if (error != Errno.Success)
        {
            table!.Destroy();
            return default;
        }

        return use;
    }

    // The queue that a call names; none if it names none.
    private ObjectUse<FaultQueueObject> UseFaults(in IommuHwptAlloc argument, out Errno error)
    {
        error = Errno.Success;
        return (argument.Flags & HwptAllocFlags.FaultIdValid) != 0
            ? _objects.Use<FaultQueueObject>(argument.FaultId, out error)
            : default;
    }

    private static Errno ReadDriverData(KernelProcess caller, ulong address, uint length, out byte[] data)
    {
        data = [];
        if (length > MaxDriverData)
        {
            return Errno.ArgumentTooBig;
        }

        if (length == 0)
        {
            return Errno.Success;
        }

        byte[] read = new byte[length];
        Errno error = caller.Memory.Read(address, read);
        data = error == Errno.Success ? read : data;
        return error;
    }
}
