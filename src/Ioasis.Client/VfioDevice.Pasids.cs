using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <content>Which PASIDs the device may use: calls on its own descriptor, which alone knows what it is (S1.11, S1.12).</content>
public sealed partial class VfioDevice
{
    /// <summary>Lets the device use a PASID: from now on the IOMMU knows it (S1.5).</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Allow(PasidHandle pasid)
    {
        ArgumentNullException.ThrowIfNull(pasid);
        IommuException.ThrowIf(AllowErrno(pasid), "IOASID_DEVICE_ALLOW", $"device {Path}, PASID {pasid.Pasid}");
    }

    /// <summary>Lets the device use a PASID.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Exists"/> if it may already; <see cref="Errno.NotSupported"/> if it has no PASIDs;
    /// <see cref="Errno.Overflow"/> if it cannot send so large a one; <see cref="Errno.InvalidArgument"/> if it is not bound; what
    /// the IOMMU answers.
    /// </returns>
    public Errno AllowErrno(PasidHandle pasid)
    {
        ArgumentNullException.ThrowIfNull(pasid);
        IoasidDeviceAllow argument = new() { IoasidFd = pasid.DescriptorNumber, Ioasid = pasid.Pasid.Value };
        return Descriptor.Call(ref argument);
    }

    /// <summary>Takes a PASID away from the device; when it returns, none of its DMA uses it (S1.8).</summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/> if it may not use it; <see cref="Errno.TimedOut"/>.</returns>
    public Errno DisallowErrno(Pasid pasid)
    {
        IoasidDeviceDisallow argument = new() { Ioasid = pasid.Value };
        return Descriptor.Call(ref argument);
    }

    /// <summary>Lists the PASIDs that the device may use, in ascending order.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public unsafe Errno GetPasidsErrno(out Pasid[] pasids)
    {
        IoasidDeviceListArgument argument = default;
        Errno error = Descriptor.Call(ref argument);
        while (error == Errno.MessageTooLong)
        {
            uint* array = (uint*)NativeMemory.Alloc(argument.Count, sizeof(uint));
            try
            {
                uint room = argument.Count;
                argument.Ioasids = (ulong)array;
                error = Descriptor.Call(ref argument);
                if (error == Errno.Success)
                {
                    ReadOnlySpan<uint> numbers = new(array, (int)Math.Min(room, argument.Count));
                    pasids = new Pasid[numbers.Length];
                    for (int i = 0; i < pasids.Length; i++)
                    {
                        pasids[i] = new(numbers[i]);
                    }

                    return error;
                }
            }
            finally
            {
                NativeMemory.Free(array);
            }
        }

        pasids = [];
        return error;
    }

    /// <summary>Attaches a PASID of the device to a table made with <see cref="HwptAllocFlags.Pasid"/>, or switches it there.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void AttachPasid(Pasid pasid, HardwarePageTable table) =>
        IommuException.ThrowIf(
            AttachPasidErrno(pasid, table), "VFIO_DEVICE_ATTACH_IOMMUFD_PT", $"{Path}, PASID {pasid}, table {table.Id}");

    /// <summary>Attaches a PASID of the device to a table made with <see cref="HwptAllocFlags.Pasid"/>, or switches it there.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno AttachPasidErrno(Pasid pasid, HardwarePageTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        VfioDeviceAttachIommufdPt argument = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioDeviceAttachIommufdPt>(), Flags = VfioAttachFlags.Pasid, PageTableId = table.Id,
            Pasid = pasid.Value,
        };
        return Descriptor.Call(
            VfioRequests.DeviceAttachIommufdPt, MemoryMarshal.AsBytes(new Span<VfioDeviceAttachIommufdPt>(ref argument)));
    }

    /// <summary>Detaches a PASID of the device: its DMA faults. Harmless if it is not attached.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno DetachPasidErrno(Pasid pasid)
    {
        VfioDeviceDetachIommufdPt argument = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioDeviceDetachIommufdPt>(), Flags = VfioAttachFlags.Pasid, Pasid = pasid.Value,
        };
        return Descriptor.Call(
            VfioRequests.DeviceDetachIommufdPt, MemoryMarshal.AsBytes(new Span<VfioDeviceDetachIommufdPt>(ref argument)));
    }
}
