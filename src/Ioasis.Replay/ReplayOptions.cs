using Ioasis.Embedded;
using Ioasis.PageTables;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay;

/// <summary>Which maps and unmaps are checked by DMA.</summary>
public enum CheckLevel
{
    /// <summary>None.</summary>
    None,

    /// <summary>The first, the last and a seeded middle byte of every range.</summary>
    Sampled,

    /// <summary>Every page.</summary>
    All,
}

/// <summary>How a recording is replayed.</summary>
public sealed record ReplayOptions
{
    /// <summary>
    /// The IOMMU that the devices are behind; null for one as the recorded machine had: VT-d for a recording that says it is of x86, else RISC-V,
    /// or the first kind that has <see cref="Tables"/>.
    /// </summary>
    public IommuSlot? Iommu { get; init; }

    /// <summary>The format of the page tables, one of <see cref="IommuSlot.Formats"/>; null for the slot's own, or the one with the most IOVAs.</summary>
    public PageTableFormat? Tables { get; init; }

    /// <summary>Entries of the IOTLB, 1 or more.</summary>
    public int IotlbEntries { get; init; } = 64;

    /// <summary>Ways of each set of it; a divisor of <see cref="IotlbEntries"/>.</summary>
    public int IotlbWays { get; init; } = 4;

    /// <summary>Whether invalidations are batched: every 10 ms of the recording's time, or when 256 unmaps wait.</summary>
    public bool LazyInvalidation { get; init; }

    /// <summary>Whether the hardware model keeps whatever it may cache until it is explicitly invalidated.</summary>
    public bool Hostile { get; init; }

    /// <summary>What is checked.</summary>
    public CheckLevel Check { get; init; } = CheckLevel.Sampled;

    /// <summary>The seed of what is sampled.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The device that takes what no event ties to one; null to infer it.</summary>
    public string? RestDevice { get; init; }

    /// <summary>Format of the recording; <see cref="TraceFormat.Unknown"/> to recognise it.</summary>
    internal TraceFormat Format { get; init; }

    /// <summary>Whether a line that does not parse is fatal.</summary>
    public bool StrictInput { get; init; }

    /// <summary>How far a logged DMA may lie from the life of its mapping, in seconds; it counts as a class of its own then.</summary>
    public double ToleranceSeconds { get; init; } = 0.001;

    /// <summary>How DMA events find their maps.</summary>
    internal AttributionRule Attribution { get; init; }

    /// <summary>Whether time series are recorded for plots.</summary>
    public bool RecordSeries { get; init; } = true;

    /// <summary>Whether a recording is read in a thread of its own beside the replay; the report is the same.</summary>
    public bool ReadInThread { get; init; } = Environment.ProcessorCount > 1;

    /// <summary>Changes the machine that the recording is replayed on, before it is made.</summary>
    public Func<EmbeddedPlatformOptions, EmbeddedPlatformOptions> Machine { get; init; } = static machine => machine;
}

/// <summary>How far a replay is.</summary>
/// <param name="Phase">What it does, in a word or two.</param>
/// <param name="Fraction">0 to 1 within the phase.</param>
public readonly record struct ReplayProgress(string Phase, double Fraction);
