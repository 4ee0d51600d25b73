using Ioasis.Cli.Groups;

namespace Ioasis.Cli.Rendering;

/// <summary>Groups as lines of text.</summary>
internal static class GroupsText
{
    private static readonly (string Header, Func<DeviceRow, string> Text)[] Columns =
    [
        ("<device", static device => device.Name),
        ("<identity", static device => device.Identity ?? ""),
        ("<kind", static device => (device.Kind ?? "") + (device.PasidBits is { } bits ? $", {bits} PASID bits" : "")),
        ("<driver", static device => device.Driver ?? ""),
        ("<path", static device => device.Path ?? ""),
    ];

    /// <summary>Writes the report; the hints are the caller's.</summary>
    public static void Write(TextWriter output, GroupsReport report)
    {
        foreach (IommuRow iommu in report.Iommus)
        {
            output.WriteLine(
                $"IOMMU {Format.Printable(iommu.Name)}: {Format.Count(iommu.DeviceCount)} device{(iommu.DeviceCount == 1 ? "" : "s")}"
                + string.Concat(iommu.Attributes.Select(static a => $", {Format.Printable(a.Key)} {Format.Printable(a.Value)}")));
        }

        // Columns that nobody fills are left out.
        (string Header, Func<DeviceRow, string> Text)[] columns =
        [
            .. Columns.Where(column => report.Groups.Any(group => group.Devices.Any(device => column.Text(device).Length > 0))),
        ];
        bool isOpen = false;
        foreach (GroupRow group in report.Groups)
        {
            output.WriteLine();
            output.WriteLine($"group {group.Number}{(group.Type is null ? "" : $"  {Format.Printable(group.Type)}")}");
            TextTable devices = new([.. columns.Select(static column => column.Header)]);
            foreach (DeviceRow device in group.Devices)
            {
                devices.Add([.. columns.Select(column => Format.Printable(column.Text(device)))]);
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
