using Ioasis.Cli.Groups;

namespace Ioasis.Cli.Rendering;

/// <summary>Groups as lines of text.</summary>
internal static class GroupsText
{
    /// <summary>Writes the report; the hints are the caller's.</summary>
    public static void Write(TextWriter output, GroupsReport report)
    {
        foreach (IommuRow iommu in report.Iommus)
        {
            output.WriteLine(
                $"IOMMU {Format.Printable(iommu.Name)}: {Format.Count(iommu.DeviceCount)} device{(iommu.DeviceCount == 1 ? "" : "s")}"
                + string.Concat(iommu.Attributes.Select(static a => $", {Format.Printable(a.Key)} {Format.Printable(a.Value)}")));
        }

        bool isOpen = false;
        foreach (GroupRow group in report.Groups)
        {
            output.WriteLine();
            output.WriteLine($"group {group.Number}{(group.Type is null ? "" : $"  {Format.Printable(group.Type)}")}");
            TextTable devices = new("<device", "<identity", "<kind", "<driver", "<path");
            foreach (DeviceRow device in group.Devices)
            {
                devices.Add(
                    device.Name,
                    device.Identity ?? "",
                    Format.Printable(device.Kind ?? "") + (device.PasidBits is { } bits ? $", {bits} PASID bits" : ""),
                    Format.Printable(device.Driver ?? ""),
                    Format.Printable(device.Path ?? ""));
            }

            foreach (string line in devices.Lines(headers: false))
            {
                output.WriteLine(line);
            }

            foreach (RegionRow region in group.ReservedRegions)
            {
                output.WriteLine($"  reserved  {region.Start} - {region.Last}  {region.Kind}");
            }

            foreach (RangeRow range in group.UsableRanges)
            {
                bool isLast = !group.KnowsLimit && range == group.UsableRanges[^1];
                isOpen |= isLast;
                output.WriteLine($"  usable    {range.Start} - {(isLast ? "…" : range.Last)}");
            }
        }

        if (isOpen)
        {
            output.WriteLine();
            output.WriteLine("…  The end is the IOMMU's, and known when a program attaches a device (IOMMU_IOAS_IOVA_RANGES).");
        }
    }
}
