using Ioasis.Replay.Report;

namespace Ioasis.Cli.Commands;

/// <summary>What the user asked <c>ioasis run</c> for, checked for form.</summary>
internal sealed record RunRequest
{
    /// <summary>The recording; <c>-</c> is standard input.</summary>
    public required string Path { get; init; }

    /// <summary>The device-side log of the same run, or null.</summary>
    public string? DmaLogPath { get; init; }

    /// <summary>Format of <see cref="Path"/>, or null to recognise it.</summary>
    public string? Format { get; init; }

    /// <summary>The kind of IOMMU, as <c>riscv</c>, with options; null for one as the recorded machine had.</summary>
    public string? Iommu { get; init; }

    /// <summary>A format of page tables that the IOMMU walks, as <c>sv57</c>; null for the widest.</summary>
    public string? Mode { get; init; }

    /// <summary>Entries of each IOTLB.</summary>
    public required int IotlbEntries { get; init; }

    /// <summary>Ways of each of its sets.</summary>
    public required int IotlbWays { get; init; }

    /// <summary>Whether invalidations are batched.</summary>
    public required bool Lazy { get; init; }

    /// <summary>Whether the model keeps every cached entry until it is invalidated.</summary>
    public required bool Hostile { get; init; }

    /// <summary><c>none</c>, <c>sampled</c> or <c>all</c>.</summary>
    public required string Check { get; init; }

    /// <summary>Seed of what is sampled.</summary>
    public required long Seed { get; init; }

    /// <summary>Device for maps that nothing names one for, or null.</summary>
    public string? RestDevice { get; init; }

    /// <summary>Whether a line that does not parse is an error.</summary>
    public required bool StrictInput { get; init; }

    /// <summary>Alignment tolerance of a DMA log, in seconds.</summary>
    public required double ToleranceSeconds { get; init; }

    /// <summary>Where the JSON document goes, or null.</summary>
    public string? JsonPath { get; init; }

    /// <summary>Where the page goes, or null.</summary>
    public string? HtmlPath { get; init; }
}

/// <summary>Replays, telling how far it is: a few words on what it does, and 0 to 1.</summary>
internal delegate ReplayReport ReplayRunner(RunRequest request, Action<string, double>? progress);
