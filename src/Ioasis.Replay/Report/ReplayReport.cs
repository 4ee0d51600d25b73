namespace Ioasis.Replay.Report;

/// <summary>
/// All that one replay found out: the one result that the text summary, the JSON document and the page are made from.
/// Units are in the names: times are seconds of the recording's own clock unless the name says otherwise, sizes are
/// bytes.
/// </summary>
/// <remarks>
/// This folder holds immutable records, and the recorders that thin time series while a replay runs. It never replays,
/// prints or reads a file. docs/report-schema.md describes the JSON form.
/// </remarks>
internal sealed record ReplayReport
{
    /// <summary>The version of the JSON schema that this model has; a change that a reader must know about raises it.</summary>
    public const int CurrentSchemaVersion = 1;

    /// <summary>Always <see cref="CurrentSchemaVersion"/> in a report made by this version.</summary>
    public int SchemaVersion { get; init; } = CurrentSchemaVersion;

    /// <summary>Name and version of the program that made the report, as <c>ioasis 0.1.0</c>.</summary>
    public required string Tool { get; init; }

    /// <summary>The options that the replay used, defaults included: with these the run can be repeated.</summary>
    public required ReportOptions Options { get; init; }

    /// <summary>The files that were read, in the order of the command line.</summary>
    public required IReadOnlyList<InputReport> Inputs { get; init; }

    /// <summary>What was checked, and what did not hold.</summary>
    public required CheckReport Checks { get; init; }

    /// <summary>The recording's devices, by name.</summary>
    public required IReadOnlyList<DeviceReport> Devices { get; init; }

    /// <summary>How maps and unmaps were given to devices.</summary>
    public required AttributionReport Attribution { get; init; }

    /// <summary>Maps, unmaps and what stayed mapped.</summary>
    public required MappingReport Mappings { get; init; }

    /// <summary>Memory that the page tables took.</summary>
    public required PageTableReport PageTables { get; init; }

    /// <summary>What the IOMMU's hardware model did.</summary>
    public required HardwareReport Hardware { get; init; }

    /// <summary>Invalidations that the recorded kernel or device model made, as the recording tells.</summary>
    public required RecordedInvalidationReport RecordedInvalidations { get; init; }

    /// <summary>Every case that a plain map and unmap is not, with what was done about it; empty when there was none.</summary>
    public required IReadOnlyList<Oddity> Oddities { get; init; }

    /// <summary>The replay of the device-side DMA log, or null when there was none.</summary>
    public DmaLogReport? DmaLog { get; init; }

    /// <summary>How fast the replay was.</summary>
    public required ThroughputReport Throughput { get; init; }

    /// <summary>What changed over the recording's time, thinned for plots.</summary>
    public required SeriesReport Series { get; init; }

    /// <summary>Whether every check held.</summary>
    public bool Passed => Checks.MismatchCount == 0;
}

/// <summary>A count with a name.</summary>
/// <param name="Name">What was counted, in the words of the recording or of the specification.</param>
/// <param name="Count">How often, 0 or more.</param>
internal sealed record NamedCount(string Name, long Count);

/// <summary>The options of one replay, as words and numbers that the command line would take.</summary>
internal sealed record ReportOptions
{
    /// <summary>The kind of IOMMU: <c>riscv</c> or <c>vtd</c>.</summary>
    public required string Iommu { get; init; }

    /// <summary>The format of the page tables, as <c>sv57</c>.</summary>
    public required string Mode { get; init; }

    /// <summary>When an unmap's IOTLB invalidation happens: <c>strict</c> (before the unmap returns) or <c>lazy</c> (batched).</summary>
    public required string Invalidation { get; init; }

    /// <summary>What the hardware model may cache: <c>none</c>, <c>realistic</c> or <c>hostile</c>.</summary>
    public required string Caching { get; init; }

    /// <summary>Which ranges are checked by DMA: <c>none</c>, <c>sampled</c> or <c>all</c>.</summary>
    public required string Check { get; init; }

    /// <summary>Entries of each IOTLB, 1 or more.</summary>
    public required int IotlbEntries { get; init; }

    /// <summary>Ways of each set of the IOTLB; equal to <see cref="IotlbEntries"/> when fully associative.</summary>
    public required int IotlbWays { get; init; }

    /// <summary>The seed of everything that is sampled; the same seed gives the same run.</summary>
    public required long Seed { get; init; }

    /// <summary>The device that takes maps and unmaps which no event ties to one, or null.</summary>
    public string? RestDevice { get; init; }

    /// <summary>Format that the command line asked for, or null when it was recognised.</summary>
    public string? RequestedFormat { get; init; }

    /// <summary>Whether a line that does not parse ends the run.</summary>
    public required bool StrictInput { get; init; }

    /// <summary>An access this close to its map or unmap counts as aligned, in seconds; used with a DMA log only.</summary>
    public required double ToleranceSeconds { get; init; }
}

/// <summary>How fast the replay was. Wall-clock time of this run, not of the recording.</summary>
internal sealed record ThroughputReport
{
    /// <summary>Events replayed.</summary>
    public required long Events { get; init; }

    /// <summary>Translations that the hardware model was asked for, checks included.</summary>
    public required long Translations { get; init; }

    /// <summary>The whole run: reading, parsing, replay and checks.</summary>
    public required double ElapsedSeconds { get; init; }

    /// <summary>Reading, decompression, parsing and attribution.</summary>
    public required double ParseSeconds { get; init; }

    /// <summary>Replay and checks.</summary>
    public required double ReplaySeconds { get; init; }

    /// <summary>Largest working set of the process, 0 when the system does not tell.</summary>
    public long PeakMemoryBytes { get; init; }

    /// <summary>Events per second of <see cref="ReplaySeconds"/>; 0 when no time passed.</summary>
    public double EventsPerSecond => Rate(Events, ReplaySeconds);

    /// <summary>Translations per second of <see cref="ReplaySeconds"/>; 0 when no time passed.</summary>
    public double TranslationsPerSecond => Rate(Translations, ReplaySeconds);

    private static double Rate(long count, double seconds) => seconds > 0 ? count / seconds : 0;
}
