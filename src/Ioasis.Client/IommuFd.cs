using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// An open <c>/dev/iommu</c>: the place where address spaces, page tables and bound devices of one user live. Knows nothing
/// but the ABI and the kernel it was opened on. Thread-safe.
/// </summary>
public sealed partial class IommuFd : IDisposable
{
    /// <summary>The device node.</summary>
    public const string Path = "/dev/iommu";

    private IommuFd(KernelDescriptor descriptor) => Descriptor = descriptor;

    /// <summary>The descriptor.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Opens <c>/dev/iommu</c>.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static IommuFd Open(IKernelAbi kernel)
    {
        IommuException.ThrowIf(OpenErrno(kernel, out IommuFd? iommu), "open", $"{Path}");
        return iommu!;
    }

    /// <summary>Opens <c>/dev/iommu</c>.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno OpenErrno(IKernelAbi kernel, out IommuFd? iommu)
    {
        Errno error = KernelDescriptor.OpenErrno(kernel, Path, out KernelDescriptor? descriptor);
        iommu = descriptor is null ? null : new(descriptor);
        return error;
    }

    /// <summary>Makes an empty address space.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public IoAddressSpace AllocateAddressSpace()
    {
        IommuException.ThrowIf(AllocateAddressSpaceErrno(out IoAddressSpace? space), "IOMMU_IOAS_ALLOC", $"");
        return space!;
    }

    /// <summary>Makes an empty address space.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno AllocateAddressSpaceErrno(out IoAddressSpace? space)
    {
        IommuIoasAlloc argument = default;
        Errno error = Descriptor.Call(ref argument);
        space = error == Errno.Success ? new(this, new(Descriptor, argument.OutIoasId)) : null;
        return error;
    }

    /// <summary>Makes a page table for a device, which holds what is mapped in <paramref name="space"/>.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public HardwarePageTable AllocatePageTable(
        VfioDevice device, IoAddressSpace space, HwptAllocFlags flags = HwptAllocFlags.None)
    {
        Errno error = AllocatePageTableErrno(device, space, flags, out HardwarePageTable? table);
        IommuException.ThrowIf(
            error, "IOMMU_HWPT_ALLOC", $"device {device.Id}, address space {space.Id}, flags {flags}");
        return table!;
    }

    /// <summary>Makes a page table for a device, which holds what is mapped in <paramref name="space"/>.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno AllocatePageTableErrno(
        VfioDevice device, IoAddressSpace space, HwptAllocFlags flags, out HardwarePageTable? table)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(space);
        IommuHwptAlloc argument = new() { Flags = flags, DeviceId = device.Id, PageTableId = space.Id };
        Errno error = Descriptor.Call(ref argument);
        table = error == Errno.Success ? new(new(Descriptor, argument.OutHwptId)) : null;
        return error;
    }

    /// <summary>What the path of a bound device through its IOMMU can do.</summary>
    /// <param name="device">A device that is bound here.</param>
    /// <param name="pasidBits">PASID bits of the device, 0 for none.</param>
    /// <param name="capabilities">Capabilities.</param>
    /// <returns>Success, or what the kernel answered.</returns>
    public Errno GetHardwareInfoErrno(VfioDevice device, out int pasidBits, out HwCapabilities capabilities)
    {
        ArgumentNullException.ThrowIfNull(device);
        IommuHwInfo argument = new() { DeviceId = device.Id };
        Errno error = Descriptor.Call(ref argument);
        pasidBits = argument.OutMaxPasidLog2;
        capabilities = argument.OutCapabilities;
        return error;
    }

    /// <summary>Closes the descriptor. The kernel undoes everything once the objects and devices that use it are gone.</summary>
    public void Dispose() => Descriptor.Dispose();
}
