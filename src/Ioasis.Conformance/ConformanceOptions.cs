using Ioasis.Hardware;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Conformance;

/// <summary>What to replay, and how.</summary>
internal sealed record ConformanceOptions
{
    /// <summary>Caching modes of the model; a case passes if it passes in each of them.</summary>
    public IReadOnlyList<CachingMode> Modes { get; init; } = [CachingMode.None, CachingMode.Realistic, CachingMode.Hostile];

    /// <summary>Only this topic, or null for all.</summary>
    public string? Topic { get; init; }

    /// <summary>Only this case (with the cases that it continues), or null for all.</summary>
    public string? CaseId { get; init; }

    /// <summary>How many differences are kept for each topic, 0 or more. Failures are counted all the same.</summary>
    public int MaxDifferences { get; init; } = 5;

    /// <summary>How many files are replayed at once, 1 or more.</summary>
    public int Parallelism { get; init; } = Environment.ProcessorCount;
}
