using Ioasis.Devices;
using Ioasis.Primitives;
using System.Globalization;

namespace Ioasis.Exec;

/// <summary>A device as the program sees it in sysfs.</summary>
/// <param name="Id">Its requester ID.</param>
/// <param name="Description">What its configuration space says.</param>
/// <param name="Config">Its configuration space.</param>
/// <param name="Group">Number of its group.</param>
/// <param name="Node">Path of its own node.</param>
/// <param name="Iommu">Name of the IOMMU in front of it.</param>
internal sealed record ViewedDevice(
    DeviceId Id, PciDeviceDescription Description, byte[] Config, int Group, string Node, string Iommu)
{
    /// <summary>Its name on the bus: <c>DDDD:BB:DD.F</c>.</summary>
    public string Name { get; } = string.Create(
        CultureInfo.InvariantCulture,
        $"{Id.Segment:x4}:{(Id.Value >> 8) & 0xff:x2}:{(Id.Value >> 3) & 0x1f:x2}.{Id.Value & 7}");

    /// <summary>The folder of its root bus: <c>pciDDDD:BB</c>.</summary>
    public string Bus { get; } = string.Create(CultureInfo.InvariantCulture, $"pci{Id.Segment:x4}:{(Id.Value >> 8) & 0xff:x2}");

    /// <summary>Name of its VFIO device: <c>vfioN</c>.</summary>
    public string VfioName => Node[(Node.LastIndexOf('/') + 1)..];
}
