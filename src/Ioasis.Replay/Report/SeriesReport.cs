using Ioasis.Primitives;

namespace Ioasis.Replay.Report;

/// <summary>
/// What changed over the recording's time. The series are columns of one table: entry <c>i</c> of each belongs to the
/// interval that starts at <see cref="StartSeconds"/>[<c>i</c>] and lasts <see cref="IntervalSeconds"/>. There are at
/// most <see cref="MaxPoints"/> of them, however long the recording is.
/// </summary>
internal sealed record SeriesReport
{
    /// <summary>The most intervals that a report has.</summary>
    public const int MaxPoints = 2000;

    /// <summary>Length of one interval; 0 when there is none.</summary>
    public required double IntervalSeconds { get; init; }

    /// <summary>Where each interval starts, on the recording's clock.</summary>
    public required IReadOnlyList<double> StartSeconds { get; init; }

    /// <summary>Most bytes mapped at one time in the interval, over all devices.</summary>
    public required IReadOnlyList<long> LiveBytes { get; init; }

    /// <summary>Most ranges mapped at one time in the interval, over all devices.</summary>
    public required IReadOnlyList<long> LiveRanges { get; init; }

    /// <summary>Bytes mapped when the interval ends, for each device.</summary>
    public required IReadOnlyList<DeviceSeries> LiveBytesByDevice { get; init; }

    /// <summary>Maps in the interval.</summary>
    public required IReadOnlyList<long> Maps { get; init; }

    /// <summary>Unmaps in the interval.</summary>
    public required IReadOnlyList<long> Unmaps { get; init; }

    /// <summary>Page-table memory when the interval ends.</summary>
    public required IReadOnlyList<long> PageTableBytes { get; init; }

    /// <summary>IOTLB hits in the interval.</summary>
    public required IReadOnlyList<long> IotlbHits { get; init; }

    /// <summary>IOTLB misses in the interval.</summary>
    public required IReadOnlyList<long> IotlbMisses { get; init; }

    /// <summary>Invalidation commands of our driver in the interval, fences not counted.</summary>
    public required IReadOnlyList<long> InvalidationCommands { get; init; }

    /// <summary>Cache entries that they removed.</summary>
    public required IReadOnlyList<long> EntriesRemoved { get; init; }

    /// <summary>Invalidations that the recording tells of, in the interval.</summary>
    public required IReadOnlyList<long> RecordedInvalidations { get; init; }

    /// <summary>The recording's own marks, in its order.</summary>
    public required IReadOnlyList<RecordedMark> Marks { get; init; }

    /// <summary>Where each device's mappings lay, over time.</summary>
    public required IReadOnlyList<IovaMap> IovaMaps { get; init; }
}

/// <summary>One device's column of <see cref="SeriesReport"/>.</summary>
/// <param name="Device">The device's name.</param>
/// <param name="Values">One value for each interval.</param>
internal sealed record DeviceSeries(string Device, IReadOnlyList<long> Values);

/// <summary>A note that the recording carries: a phase of the workload.</summary>
/// <param name="Seconds">When it was made.</param>
/// <param name="Text">What it says, control characters replaced.</param>
internal sealed record RecordedMark(double Seconds, string Text);

/// <summary>
/// Where one device's mappings lay over time: a grid of IOVA bands (rows, lowest first; bands that never held a
/// mapping are left out) by time (columns).
/// </summary>
internal sealed record IovaMap
{
    /// <summary>The most rows that a map has.</summary>
    public const int MaxRows = 192;

    /// <summary>The most columns that a map has.</summary>
    public const int MaxColumns = 240;

    /// <summary>The device's name.</summary>
    public required string Device { get; init; }

    /// <summary>Height of a row: a power of two, 4 KiB or more.</summary>
    public required long BandBytes { get; init; }

    /// <summary>Where the first column starts, on the recording's clock.</summary>
    public required double StartSeconds { get; init; }

    /// <summary>Width of a column.</summary>
    public required double ColumnSeconds { get; init; }

    /// <summary>The rows, by rising address.</summary>
    public required IReadOnlyList<IovaBand> Bands { get; init; }
}

/// <summary>One row of an <see cref="IovaMap"/>.</summary>
/// <param name="Start">First byte of the band.</param>
/// <param name="OccupancyPercent">For each column how much of the band was mapped, averaged over the column's time: 0 to 100, and at least 1 when anything was.</param>
internal sealed record IovaBand(Iova Start, IReadOnlyList<byte> OccupancyPercent);
