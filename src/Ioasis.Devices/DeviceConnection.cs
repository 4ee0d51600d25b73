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
    /// Whether the driver itself turns ATS, page requests and PASIDs on in the configuration space, as it does where nothing is between it and the function; if not, the
    /// kernel has done so, and their controls only show.
    /// </summary>
    public bool DriverEnablesAts { get; init; }

    /// <summary>
    /// The physical address of host address 0, if other devices of the machine reach this process's memory by physical address;
    /// null if not.
    /// </summary>
    public PhysicalAddress? HostMemory { get; init; }

    /// <summary>
    /// Says what requests without a PASID reach now, in the order of IOVAs: for a device that cannot ask for each access, as one in another
    /// process that is shown memory beforehand. Null where nobody knows.
    /// </summary>
    public Func<IReadOnlyList<DeviceMapping>>? Mappings { get; init; }

    /// <summary>
    /// Calls with the same, and with the memory that it leads to. Until that returns no mapping of it is gone for whoever takes it back, so that what is read there is what
    /// requests would have read; no request is made, and no fault recorded. Null where a device that has copies makes requests for them.
    /// </summary>
    public Action<Action<IReadOnlyList<DeviceMapping>, IPhysicalMemory>>? WhileMapped { get; init; }
}

/// <summary>A part of what a device reaches.</summary>
/// <param name="Start">The first address, a multiple of 4 KiB.</param>
/// <param name="Length">Bytes, a multiple of 4 KiB.</param>
/// <param name="Address">Where it leads: tells one mapping of an address from a later one.</param>
/// <param name="Access">What the device may do there.</param>
public readonly record struct DeviceMapping(Iova Start, ulong Length, PhysicalAddress Address, Access Access);
