using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Linux.Discovery;

/// <summary>A device behind an IOMMU, as sysfs shows it.</summary>
/// <param name="Name">Its name on its bus: <c>0000:00:03.0</c> for PCI.</param>
public sealed record LinuxDevice(string Name)
{
    /// <summary>The bus that it is on: <c>pci</c>, <c>platform</c>; null if the kernel does not say.</summary>
    public string? Bus { get; init; }

    /// <summary>Its requester ID, if it is a PCI device.</summary>
    public DeviceId? Id { get; init; }

    /// <summary>PCI vendor.</summary>
    public ushort? Vendor { get; init; }

    /// <summary>PCI device number.</summary>
    public ushort? Product { get; init; }

    /// <summary>PCI class: base class, subclass, programming interface, 24 bits.</summary>
    public uint? Class { get; init; }

    /// <summary>The driver that has it; null if none.</summary>
    public string? Driver { get; init; }

    /// <summary>The only driver that may have it (<c>driver_override</c>); null if any that matches.</summary>
    public string? DriverOverride { get; init; }

    /// <summary>The IOMMU in front of it, by its name in <c>/sys/class/iommu</c>.</summary>
    public string? Iommu { get; init; }

    /// <summary>Memory node, or null.</summary>
    public int? Node { get; init; }

    /// <summary>Its group, or null without an IOMMU.</summary>
    public int? Group { get; init; }

    /// <summary>The character device through which a program opens it, once vfio-pci has it (<c>/dev/vfio/devices/…</c>).</summary>
    public string? VfioNode { get; init; }

    /// <summary>Whether it is a bridge between PCI buses (class 06 04), which is nobody's to use.</summary>
    public bool IsPciBridge => Class >> 8 == 0x0604;

    /// <summary>Whether it is a bridge of any kind (base class 06): host and ISA bridges do no DMA of their own.</summary>
    public bool IsBridge => Class >> 16 == 0x06;

    internal static LinuxDevice Read(Sysfs sysfs, string folder, string name)
    {
        string? over = sysfs.TryRead($"{folder}/driver_override");
        return new(name)
        {
            Bus = sysfs.TryReadLinkName($"{folder}/subsystem"),
            Id = DeviceId.TryParse(name, out DeviceId id) ? id : null,
            Vendor = (ushort?)TryReadHex(sysfs, $"{folder}/vendor"),
            Product = (ushort?)TryReadHex(sysfs, $"{folder}/device"),
            Class = TryReadHex(sysfs, $"{folder}/class"),
            Driver = sysfs.TryReadLinkName($"{folder}/driver"),
            DriverOverride = over is null or "" or "(null)" ? null : over,
            Iommu = sysfs.TryReadLinkName($"{folder}/iommu"),
            Node = int.TryParse(
                sysfs.TryRead($"{folder}/numa_node"), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int n) && n >= 0
                ? n
                : null,
            Group = int.TryParse(
                sysfs.TryReadLinkName($"{folder}/iommu_group"), NumberStyles.None, CultureInfo.InvariantCulture, out int group)
                ? group
                : null,
            VfioNode = VfioNodeOf(sysfs, folder),
        };
    }

    /// <summary>Finds the character device of a PCI device.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> for an address that no device has; <see cref="Errno.NoDevice"/> if no VFIO driver is bound
    /// to it, or the kernel has no character devices for VFIO (<c>CONFIG_VFIO_DEVICE_CDEV</c>).
    /// </returns>
    internal static Errno FindVfioNode(Sysfs sysfs, string address, out string? path)
    {
        path = null;
        string folder = $"sys/bus/pci/devices/{address}";
        if (!DeviceId.TryParse(address, out _) || !sysfs.Exists(folder))
        {
            return Errno.NoEntry;
        }

        path = VfioNodeOf(sysfs, folder);
        return path is null ? Errno.NoDevice : Errno.Success;
    }

    private static string? VfioNodeOf(Sysfs sysfs, string folder) =>
        sysfs.List($"{folder}/vfio-dev") is [var node, ..] ? $"/dev/vfio/devices/{node}" : null;

    private static uint? TryReadHex(Sysfs sysfs, string path)
    {
        string? text = sysfs.TryRead(path);
        return text is not null && text.StartsWith("0x", StringComparison.Ordinal)
            && uint.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint value)
            ? value
            : null;
    }
}
