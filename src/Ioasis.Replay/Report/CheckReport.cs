using Ioasis.Primitives;

namespace Ioasis.Replay.Report;

/// <summary>What was checked, and what did not hold.</summary>
internal sealed record CheckReport
{
    /// <summary>How many mismatches a report lists in full.</summary>
    public const int ListedMismatches = 100;

    /// <summary>Checks made.</summary>
    public required long CheckCount { get; init; }

    /// <summary>Checks by kind: <c>reaches its page after map</c>, <c>faults after unmap</c>, <c>logged DMA</c>….</summary>
    public required IReadOnlyList<NamedCount> ByKind { get; init; }

    /// <summary>Checks that did not hold.</summary>
    public required long MismatchCount { get; init; }

    /// <summary>Mismatches by kind.</summary>
    public required IReadOnlyList<NamedCount> MismatchesByKind { get; init; }

    /// <summary>The first <see cref="ListedMismatches"/>, in the recording's order.</summary>
    public required IReadOnlyList<Mismatch> FirstMismatches { get; init; }
}

/// <summary>One check that did not hold.</summary>
internal sealed record Mismatch
{
    /// <summary>File that the line number is of.</summary>
    public required string Path { get; init; }

    /// <summary>Line of the event that was checked, from 1.</summary>
    public required long Line { get; init; }

    /// <summary>The device's name.</summary>
    public required string Device { get; init; }

    /// <summary>The kind of check, as in <see cref="CheckReport.ByKind"/>.</summary>
    public required string Kind { get; init; }

    /// <summary>The address that the device used.</summary>
    public required Iova Iova { get; init; }

    /// <summary>What had to happen, as <c>pa 0x81234000</c> or <c>fault 13 (read page fault)</c>.</summary>
    public required string Expected { get; init; }

    /// <summary>What happened, in the same form.</summary>
    public required string Got { get; init; }
}

/// <summary>A case that a plain map and unmap is not.</summary>
internal sealed record Oddity
{
    /// <summary>What it is, as <c>map over a live mapping</c>.</summary>
    public required string Name { get; init; }

    /// <summary>How often it was seen.</summary>
    public required long Count { get; init; }

    /// <summary>What the replay did about it, in a few words.</summary>
    public required string Outcome { get; init; }

    /// <summary>Line of the first one, or null when it has none.</summary>
    public long? FirstLine { get; init; }
}

/// <summary>The replay of a device-side DMA log.</summary>
internal sealed record DmaLogReport
{
    /// <summary>DMAs in the log.</summary>
    public required long Dmas { get; init; }

    /// <summary>Whether the mappings were learned from the log itself, because there was no kernel trace.</summary>
    public required bool LearnedMappings { get; init; }

    /// <summary>How the two clocks were tied, or null when there was only one.</summary>
    public ClockAlignment? Alignment { get; init; }

    /// <summary>DMAs by class, over all devices.</summary>
    public required IReadOnlyList<NamedCount> Classes { get; init; }

    /// <summary>DMAs by class for each device.</summary>
    public required IReadOnlyList<DeviceDmaClasses> ByDevice { get; init; }

    /// <summary>DMAs by access: <c>read</c>, <c>write</c>, <c>unknown</c>.</summary>
    public IReadOnlyList<NamedCount> ByAccess { get; init; } = [];
}

/// <summary>Logged DMAs of one device by class.</summary>
/// <param name="Device">The device's name.</param>
/// <param name="Classes">Counts by class, the names those of <see cref="DmaLogReport.Classes"/>.</param>
internal sealed record DeviceDmaClasses(string Device, IReadOnlyList<NamedCount> Classes);

/// <summary>How the clocks of a kernel trace and a DMA log were tied by the marks in both.</summary>
internal sealed record ClockAlignment
{
    /// <summary>Marks found in both files.</summary>
    public required int Marks { get; init; }

    /// <summary>Seconds of the kernel's clock in one second of the log's clock.</summary>
    public required double ClockRatio { get; init; }

    /// <summary>How far the clocks went apart from the first mark to the last.</summary>
    public required double DriftSeconds { get; init; }

    /// <summary>Median delay of a mark's line in the log.</summary>
    public required double MedianDelaySeconds { get; init; }

    /// <summary>Largest delay of a mark's line in the log.</summary>
    public required double MaxDelaySeconds { get; init; }

    /// <summary>Where one of the clocks stood still or was set, against the other, in the trace's order.</summary>
    public IReadOnlyList<ClockJumpReport> Jumps { get; init; } = [];

    /// <summary>How far the DMAs within the tolerance lie from the life of their mapping; null when there are none.</summary>
    public DurationReport? Residual { get; init; }
}

/// <summary>A jump of one of the two clocks against the other; both sides of it are tied apart.</summary>
/// <param name="AtSeconds">The first mark behind it, in seconds of the kernel's clock.</param>
/// <param name="Seconds">How much longer it took on the log's clock; negative where the kernel's clock ran ahead.</param>
internal sealed record ClockJumpReport(double AtSeconds, double Seconds);
