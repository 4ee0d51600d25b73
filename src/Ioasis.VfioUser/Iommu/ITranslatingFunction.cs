using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>A function that is an IOMMU: the others' requests go through it, by tables in the memory of its client.</summary>
internal interface ITranslatingFunction
{
    /// <summary>Where the requests of the functions behind it go.</summary>
    IDmaPort Port { get; }

    /// <summary>Says where its tables are, and what is behind it. Once, before it is used.</summary>
    void UseMemory(IPhysicalMemory memory);

    /// <summary>Says where its commands and faults are logged. At most once, before it is used.</summary>
    /// <param name="log">The log.</param>
    /// <param name="id">The function's place, for the log.</param>
    void UseLog(AccessLog log, DeviceId id);

    /// <summary>Lists what a device behind it reaches by the tables that are there now, in the order of IOVAs (<see cref="DeviceConnection.Mappings"/>).</summary>
    /// <param name="device">The device.</param>
    /// <param name="mappings">Gets them.</param>
    /// <returns>False if it reaches all memory, at its own addresses.</returns>
    bool TryListReach(DeviceId device, ICollection<DeviceMapping> mappings);

    /// <summary>Calls, and until that returns no fence of the driver's completes: no mapping that is listed meanwhile is gone for the driver.</summary>
    void WhileMapped(Action use);
}
