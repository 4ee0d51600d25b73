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
        Ats = options.Ats;
        PageRequests = options.PageRequests;
        PageResponsesNeedPasid = options.PageResponsesNeedPasid;
        IsUntrusted = options.IsUntrusted;
        _platformRegions = [.. options.ReservedRegions ?? []];
    }

    /// <summary>The requester ID at its IOMMU.</summary>
    public DeviceId Id { get; }

    /// <summary>The name, unique in the subsystem.</summary>
    public string Name { get; }

    /// <summary>The IOMMU in front of it.</summary>
    internal IommuInstance Iommu { get; }

    /// <summary>The group: the devices that cannot be told or kept apart.</summary>
    internal IommuGroup Group { get; }

    /// <summary>Memory node, or <see cref="IPageAllocator.AnyNode"/> (S4.12).</summary>
    public int Node { get; }

    /// <summary>PASID bits that the device can send, 0 if it sends none.</summary>
    public int PasidBits { get; }

    /// <summary>Whether it caches translations itself (PCIe ATS).</summary>
    public bool Ats { get; }

    /// <summary>Whether it sends page requests (PCIe PRI).</summary>
    public bool PageRequests { get; }

    /// <summary>Whether responses to its page requests carry the PASID of the request.</summary>
    public bool PageResponsesNeedPasid { get; }

    /// <summary>For the driver: its own state of the device, set when it is probed.</summary>
    internal object? DriverData { get; set; }

    /// <summary>The device's own part in the life of PASIDs: its queues of descriptors; null if it has none.</summary>
    internal IPasidDevice? PasidDevice { get; set; }

    /// <summary>IOVAs that are not free to map: the platform's and the IOMMU's. May be unsorted and overlap (S3.12).</summary>
    public IReadOnlyList<ReservedRegion> GetReservedRegions() => [.. _platformRegions, .. Iommu.GetReservedRegions(this)];

    /// <summary>
    /// Whether firmware, or the driver of the IOMMU, asks for mappings that must be there at all times: then nothing without them
    /// can be attached.
    /// </summary>
    public bool RequiresDirectMappings
    {
        get
        {
            foreach (ReservedRegion region in GetReservedRegions())
            {
                if (region.Kind == ReservedRegionKind.Direct)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>
    /// Whether the device is beyond a port that faces the outside of the machine: it is not trusted, so that its default
    /// domain translates, and strictly.
    /// </summary>
    public bool IsUntrusted { get; }
}

/// <summary>Properties of a device that the platform tells the core.</summary>
internal readonly record struct IommuDeviceOptions()
{
    /// <summary>Memory node.</summary>
    public int Node { get; init; } = IPageAllocator.AnyNode;

    /// <summary>PASID bits that the device can send.</summary>
    public int PasidBits { get; init; }

    /// <summary>
    /// It caches translations itself (PCIe ATS) and answers invalidation requests. Its cache is empty when it is added.
    /// </summary>
    public bool Ats { get; init; }

    /// <summary>It sends page requests (PCIe PRI). Only with <see cref="Ats"/>.</summary>
    public bool PageRequests { get; init; }

    /// <summary>Its page-request capability has "PRG response PASID required" set.</summary>
    public bool PageResponsesNeedPasid { get; init; }

    /// <summary>It can be plugged in from outside and is not trusted.</summary>
    public bool IsUntrusted { get; init; }

    /// <summary>Reserved regions that the platform's firmware tells of.</summary>
    public IReadOnlyList<ReservedRegion>? ReservedRegions { get; init; }
}
