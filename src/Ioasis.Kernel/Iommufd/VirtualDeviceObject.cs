using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>A guest's name for a device, as an object (Linux: <c>iommufd_vdevice</c>). It keeps the virtual IOMMU.</summary>
internal sealed class VirtualDeviceObject : KernelObject
{
    private readonly IommufdFile _owner;

    /// <summary>Makes the object; the virtual IOMMU is used from now on.</summary>
    public VirtualDeviceObject(IommufdFile owner, VirtualIommuObject virtualIommu, DeviceObject device, ulong name)
    {
        virtualIommu.Keep();
        _owner = owner;
        VirtualIommu = virtualIommu;
        Device = device;
        Name = name;
    }

    /// <summary>The virtual IOMMU.</summary>
    public VirtualIommuObject VirtualIommu { get; }

    /// <summary>The device.</summary>
    public DeviceObject Device { get; }

    /// <summary>What the guest knows it as.</summary>
    public ulong Name { get; }

    /// <inheritdoc/>
    public override void Destroy()
    {
        _owner.ForgetVirtualDevice(this);
        VirtualIommu.ReleaseName(Name);
        VirtualIommu.Release();
    }
}
