using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <summary>
/// What a device model knows of the machine that it is in: its name on the bus, and where its requests go. Whether an IOMMU is
/// there, and which one, it does not know.
/// </summary>
/// <param name="Id">The requester ID of its function.</param>
/// <param name="Port">Where its requests go. They name their requester themselves, as on a bus.</param>
public sealed record DeviceConnection(DeviceId Id, IDmaPort Port)
{
    /// <summary>With which its requests come out of the bus: another's where a bridge on the way puts its own in place.</summary>
    public DeviceId RequesterId { get; init; } = Id;

    /// <summary>Its cache of translations, with page requests; null without ATS.</summary>
    public EndpointAts? Ats { get; init; }

    /// <summary>
    /// The physical address of host address 0, if other devices of the machine reach this process's memory by physical address;
    /// null if not.
    /// </summary>
    public PhysicalAddress? HostMemory { get; init; }
}
