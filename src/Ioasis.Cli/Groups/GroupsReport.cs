using Ioasis.Primitives;

namespace Ioasis.Cli.Groups;

/// <summary>What <c>ioasis groups</c> shows, whatever machine it comes from. Its JSON form is this, field by field.</summary>
internal sealed record GroupsReport
{
    /// <summary>Version of the form.</summary>
    public int Version { get; init; } = 1;

    /// <summary><c>embedded</c> or <c>linux</c>.</summary>
    public required string Backend { get; init; }

    /// <summary>IOMMUs.</summary>
    public required IReadOnlyList<IommuRow> Iommus { get; init; }

    /// <summary>Groups, by number.</summary>
    public required IReadOnlyList<GroupRow> Groups { get; init; }

    /// <summary>What to check, if something stands in the way of using the groups.</summary>
    public IReadOnlyList<string> Hints { get; init; } = [];
}

/// <summary>An IOMMU.</summary>
/// <param name="Name">Its name.</param>
/// <param name="DeviceCount">Devices behind it.</param>
/// <param name="Attributes">What is known of it.</param>
internal sealed record IommuRow(string Name, int DeviceCount, IReadOnlyDictionary<string, string> Attributes);

/// <summary>A group.</summary>
internal sealed record GroupRow
{
    /// <summary>Its number.</summary>
    public required int Number { get; init; }

    /// <summary>What it is attached to, in the backend's words; null if unknown.</summary>
    public string? Type { get; init; }

    /// <summary>Its devices.</summary>
    public required IReadOnlyList<DeviceRow> Devices { get; init; }

    /// <summary>IOVAs that are not free to map.</summary>
    public required IReadOnlyList<RegionRow> ReservedRegions { get; init; }

    /// <summary>IOVAs that a program can map.</summary>
    public required IReadOnlyList<RangeRow> UsableRanges { get; init; }

    /// <summary>Whether the end of the last range is the hardware's; if not, it is 2^64 - 1 and the real one lower.</summary>
    public required bool KnowsLimit { get; init; }
}

/// <summary>A device.</summary>
internal sealed record DeviceRow
{
    /// <summary>Its name: <c>0000:00:03.0</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Vendor and device number, <c>8086:10d3</c>; null if unknown.</summary>
    public string? Identity { get; init; }

    /// <summary>What it is, in a word or two; null if unknown.</summary>
    public string? Kind { get; init; }

    /// <summary>Its driver; null if none.</summary>
    public string? Driver { get; init; }

    /// <summary>How a program opens it; null if it cannot.</summary>
    public string? Path { get; init; }

    /// <summary>PASID bits that it can send.</summary>
    public int? PasidBits { get; init; }
}

/// <summary>A reserved region.</summary>
/// <param name="Start">First address.</param>
/// <param name="Last">Last address.</param>
/// <param name="Kind">In Linux' words.</param>
internal sealed record RegionRow(Iova Start, Iova Last, string Kind);

/// <summary>Addresses, both ends inclusive.</summary>
/// <param name="Start">First address.</param>
/// <param name="Last">Last address.</param>
internal sealed record RangeRow(Iova Start, Iova Last)
{
    /// <summary>The same range.</summary>
    public static RangeRow Of(AddressRange range) => new(new(range.Start), new(range.Last));
}
