using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A device by its VFIO character device. It does nothing until it is bound to an <see cref="IommuFd"/>, and its DMA faults
/// until it is attached there. Thread-safe.
/// </summary>
public sealed partial class VfioDevice : IDisposable
{
    // Of a device that was opened by its address alone: closed with it.
    private IommuFd? _ownIommu;

    internal VfioDevice(string path, KernelDescriptor descriptor)
    {
        Path = path;
        Descriptor = descriptor;
    }

    /// <summary>The device node, or the device's name if it was opened through its group.</summary>
    public string Path { get; }

    /// <summary>The descriptor.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>The device's object number in the descriptor that it is bound to, 0 before.</summary>
    public uint Id { get; private set; }

    /// <summary>The address space that <see cref="Open(string, string?)"/> or <see cref="Open(IoAddressSpace, string)"/> attached it to; null if it was opened otherwise.</summary>
    public IoAddressSpace? Space { get; private set; }

    /// <summary>
    /// Opens a PCI device for a program that needs no other: it is bound to a <c>/dev/iommu</c> of its own and attached to an empty
    /// address space there (<see cref="Space"/>), both closed with it.
    /// </summary>
    /// <param name="address">Its address, such as <c>0000:00:03.0</c>.</param>
    /// <param name="transport">The name of the kernel in <see cref="Iommu"/>; null for the only one that is registered.</param>
    /// <exception cref="ArgumentException">No transport has this name.</exception>
    /// <exception cref="InvalidOperationException">No transport is registered, or several are and none was named.</exception>
    /// <exception cref="IommuException">The kernel refused: nothing stays open.</exception>
    public static VfioDevice Open(string address, string? transport = null)
    {
        ArgumentNullException.ThrowIfNull(address);
        IommuFd iommu = IommuFd.Open(transport is null ? Iommu.GetKernel() : Iommu.GetKernel(transport));
        IoAddressSpace? space = null;
        try
        {
            space = iommu.AllocateAddressSpace();
            VfioDevice device = Open(space, address);
            device._ownIommu = iommu;
            return device;
        }
        catch
        {
            space?.Dispose();
            iommu.Dispose();
            throw;
        }
    }

    /// <summary>Opens a PCI device, binds it to the <c>/dev/iommu</c> that an address space is in, and attaches it to the space.</summary>
    /// <param name="space">The address space. It stays open when the device is closed.</param>
    /// <param name="address">The device's address, such as <c>0000:00:03.0</c>.</param>
    /// <exception cref="IommuException">The kernel refused: the device does not stay open.</exception>
    public static VfioDevice Open(IoAddressSpace space, string address)
    {
        ArgumentNullException.ThrowIfNull(space);
        ArgumentNullException.ThrowIfNull(address);
        IKernelAbi kernel = space.Owner.Kernel;
        int result = kernel.FindDevice(address, out string? path);
        IommuException.ThrowIf((Errno)(-result), "find", $"VFIO device {address}");
        VfioDevice device = Open(kernel, path!);
        try
        {
            IommuException.ThrowIf(device.BindErrno(space.Owner), "VFIO_DEVICE_BIND_IOMMUFD", $"{address}");
            _ = device.Attach(space);
            device.Space = space;
            return device;
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <summary>Opens a device, such as <c>/dev/vfio/devices/vfio0</c>.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static VfioDevice Open(IKernelAbi kernel, string path)
    {
        IommuException.ThrowIf(OpenErrno(kernel, path, out VfioDevice? device), "open", $"{path}");
        return device!;
    }

    /// <summary>Opens a device, such as <c>/dev/vfio/devices/vfio0</c>.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno OpenErrno(IKernelAbi kernel, string path, out VfioDevice? device)
    {
        Errno error = KernelDescriptor.OpenErrno(kernel, path, out KernelDescriptor? descriptor);
        device = descriptor is null ? null : new(path, descriptor);
        return error;
    }

    /// <summary>Puts the device, and with it its whole group, under the control of <paramref name="iommu"/>.</summary>
    /// <returns>The device's object number there.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public uint Bind(IommuFd iommu)
    {
        IommuException.ThrowIf(BindErrno(iommu), "VFIO_DEVICE_BIND_IOMMUFD", $"{Path}");
        return Id;
    }

    /// <summary>Puts the device, and with it its whole group, under the control of <paramref name="iommu"/>.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if it is bound already; <see cref="Errno.Busy"/> if its group is under the
    /// control of another.
    /// </returns>
    public Errno BindErrno(IommuFd iommu)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        return BindErrno(iommu.Descriptor);
    }

    private Errno BindErrno(KernelDescriptor iommu)
    {
        using HandleHold held = new(iommu);
        VfioDeviceBindIommufd argument = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioDeviceBindIommufd>(),
            Iommufd = iommu.Number,
        };
        Errno error = Call(VfioRequests.DeviceBindIommufd, ref argument);
        if (error == Errno.Success)
        {
            Id = argument.OutDeviceId;
        }

        return error;
    }

    /// <summary>
    /// Attaches the device to an address space: the kernel finds or makes a page table. A device that is attached already
    /// is switched without a moment in between.
    /// </summary>
    /// <returns>Number of the page table.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public uint Attach(IoAddressSpace space)
    {
        ArgumentNullException.ThrowIfNull(space);
        IommuException.ThrowIf(
            AttachErrno(space.Id, out uint table), "VFIO_DEVICE_ATTACH_IOMMUFD_PT", $"{Path}, address space {space.Id}");
        return table;
    }

    /// <summary>Attaches the device to a page table.</summary>
    /// <returns>Number of the page table.</returns>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public uint Attach(HardwarePageTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        IommuException.ThrowIf(
            AttachErrno(table.Id, out uint id), "VFIO_DEVICE_ATTACH_IOMMUFD_PT", $"{Path}, page table {table.Id}");
        return id;
    }

    /// <summary>Attaches the device to an address space or a page table by number.</summary>
    /// <param name="pageTableId">Number of the object.</param>
    /// <param name="attachedId">Number of the page table that it is attached to.</param>
    /// <returns>
    /// Success; <see cref="Errno.AddressInUse"/> if a live mapping lies where the device cannot reach or has a reserved
    /// region; <see cref="Errno.NoEntry"/> for an unknown object; <see cref="Errno.InvalidArgument"/> before the bind.
    /// </returns>
    public Errno AttachErrno(uint pageTableId, out uint attachedId)
    {
        VfioDeviceAttachIommufdPt argument = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioDeviceAttachIommufdPt>(),
            PageTableId = pageTableId,
        };
        Errno error = Call(VfioRequests.DeviceAttachIommufdPt, ref argument);
        attachedId = argument.PageTableId;
        return error;
    }

    /// <summary>Detaches the device: its DMA faults when this returns.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Detach() => IommuException.ThrowIf(DetachErrno(), "VFIO_DEVICE_DETACH_IOMMUFD_PT", $"{Path}");

    /// <summary>Detaches the device: its DMA faults when this returns. Harmless if it is not attached.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno DetachErrno()
    {
        VfioDeviceDetachIommufdPt argument = new() { Argsz = (uint)Unsafe.SizeOf<VfioDeviceDetachIommufdPt>() };
        return Call(VfioRequests.DeviceDetachIommufdPt, ref argument);
    }

    /// <summary>What kind of device it is, and how many regions and interrupts it has.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioDeviceInfo GetInfo()
    {
        IommuException.ThrowIf(GetInfoErrno(out VfioDeviceInfo info), "VFIO_DEVICE_GET_INFO", $"{Path}");
        return info;
    }

    /// <summary>What kind of device it is, and how many regions and interrupts it has.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> before the bind.</returns>
    public Errno GetInfoErrno(out VfioDeviceInfo info)
    {
        info = new() { Argsz = (uint)Unsafe.SizeOf<VfioDeviceInfo>() };
        return Call(VfioRequests.DeviceGetInfo, ref info);
    }

    /// <summary>Resets the device.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Reset() => IommuException.ThrowIf(ResetErrno(), "VFIO_DEVICE_RESET", $"{Path}");

    /// <summary>Resets the device.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> for a device that cannot be reset by itself.</returns>
    public Errno ResetErrno() => Descriptor.Call(VfioRequests.DeviceReset, 0, out _);

    /// <summary>Asks whether the device has a feature.</summary>
    /// <param name="feature">The feature.</param>
    /// <param name="operation">Whether it can be got, set, or both.</param>
    /// <returns>Success; <see cref="Errno.NotTypewriter"/> if not; <see cref="Errno.InvalidArgument"/> if not so.</returns>
    public Errno ProbeFeatureErrno(VfioFeature feature, VfioFeatureFlags operation)
    {
        VfioDeviceFeature argument = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioDeviceFeature>(),
            Flags = (VfioFeatureFlags)feature | operation | VfioFeatureFlags.Probe,
        };
        return Call(VfioRequests.DeviceFeature, ref argument);
    }

    /// <summary>Closes the descriptor: the kernel detaches and unbinds the device, and its interrupts end.</summary>
    public void Dispose()
    {
        Descriptor.Dispose();
        if (_ownIommu is not null)
        {
            Space!.Dispose();
            _ownIommu.Dispose();
        }
    }

    internal Errno Call<T>(uint request, ref T argument)
        where T : unmanaged =>
        Descriptor.Call(request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));
}
