using System.Globalization;
using Ioasis.Linux.Discovery;

namespace Ioasis.Cli.Groups;

/// <summary>The groups of a Linux machine.</summary>
internal static class LinuxGroups
{
    /// <summary>Looks at the machine.</summary>
    public static GroupsReport Report(Sysfs sysfs)
    {
        var platform = LinuxPlatform.Discover(sysfs);
        return new()
        {
            Backend = "linux",
            Iommus = [.. platform.Iommus.Select(static iommu => new IommuRow(iommu.Name, iommu.Devices.Count, iommu.Attributes))],
            Groups = [.. platform.Groups.Select(Row)],
            Hints = platform.Hints,
        };
    }

    /// <summary>Linux' word for a kind of region.</summary>
    public static string WordFor(LinuxReservedRegionKind kind) => kind switch
    {
        LinuxReservedRegionKind.Direct => "direct",
        LinuxReservedRegionKind.DirectRelaxable => "direct-relaxable",
        LinuxReservedRegionKind.Reserved => "reserved",
        LinuxReservedRegionKind.Msi => "msi",
        _ => "other",
    };

    private static GroupRow Row(LinuxIommuGroup group) => new()
    {
        Number = group.Number,
        Type = group.Type,
        Devices = [.. group.Devices.Select(Row)],
        ReservedRegions =
        [
            .. group.ReservedRegions.Select(static region =>
                new RegionRow(new(region.Range.Start), new(region.Range.Last), WordFor(region.Kind))),
        ],
        UsableRanges = [.. group.UsableRanges().Select(RangeRow.Of)],
        KnowsLimit = group.KnowsAddressBits,
    };

    private static DeviceRow Row(LinuxDevice device) => new()
    {
        Name = device.Name,
        Identity = device is { Vendor: { } vendor, Product: { } product }
            ? string.Create(CultureInfo.InvariantCulture, $"{vendor:x4}:{product:x4}")
            : null,
        Kind = device.Class is { } kind ? PciClass.NameOf(kind) : device.Bus,
        Driver = device.Driver,
        Path = device.VfioNode,
    };
}
