using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>A device that does DMA through an IOMMU: what the core knows of it, which is nothing of its bus (S1.11).</summary>
public sealed class IommuDevice
{
    private readonly List<ReservedRegion> _platformRegions;

    internal IommuDevice(DeviceId id, string name, IommuInstance iommu, IommuGroup group, in IommuDeviceOptions options)
    {
        Id = id;
        Name = name;
        Iommu = iommu;
        Group = group;
        Node = options.Node;
        PasidBits = options.PasidBits;
        _platformRegions = [.. options.ReservedRegions ?? []];
    }

    /// <summary>The requester ID at its IOMMU.</summary>
    public DeviceId Id { get; }

    /// <summary>The name, unique in the subsystem.</summary>
    public string Name { get; }

    /// <summary>The IOMMU in front of it.</summary>
    public IommuInstance Iommu { get; }

    /// <summary>The group: the devices that cannot be told or kept apart.</summary>
    public IommuGroup Group { get; }

    /// <summary>Memory node, or <see cref="IPageAllocator.AnyNode"/> (S4.12).</summary>
    public int Node { get; }

    /// <summary>PASID bits that the device can send, 0 if it sends none.</summary>
    public int PasidBits { get; }

    /// <summary>For the driver: its own state of the device, set when it is probed.</summary>
    public object? DriverData { get; set; }

    /// <summary>IOVAs that are not free to map: the platform's and the IOMMU's. May be unsorted and overlap (S3.12).</summary>
    public IReadOnlyList<ReservedRegion> GetReservedRegions() => [.. _platformRegions, .. Iommu.GetReservedRegions(this)];
}

/// <summary>Properties of a device that the platform tells the core.</summary>
public readonly record struct IommuDeviceOptions()
{
    /// <summary>Memory node.</summary>
    public int Node { get; init; } = IPageAllocator.AnyNode;

    /// <summary>PASID bits that the device can send.</summary>
    public int PasidBits { get; init; }

    /// <summary>Reserved regions that the platform's firmware tells of.</summary>
    public IReadOnlyList<ReservedRegion>? ReservedRegions { get; init; }
}
