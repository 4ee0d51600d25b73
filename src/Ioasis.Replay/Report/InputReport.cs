namespace Ioasis.Replay.Report;

/// <summary>What was read from one file.</summary>
public sealed record InputReport
{
    /// <summary>How many unparsed lines and lost markers a report lists in full.</summary>
    public const int ListedLines = 10;

    /// <summary>Path as given; <c>-</c> for standard input.</summary>
    public required string Path { get; init; }

    /// <summary>Name of the format: <c>ftrace</c>, <c>trace-cmd</c>, <c>perf-script</c>, <c>dma-log</c>.</summary>
    public required string Format { get; init; }

    /// <summary>Compression: <c>none</c>, <c>gzip</c> or <c>xz</c>.</summary>
    public required string Compression { get; init; }

    /// <summary>Lines, empty ones and comments included.</summary>
    public required long Lines { get; init; }

    /// <summary>Size of the text after decompression.</summary>
    public required long TextBytes { get; init; }

    /// <summary>Lines that are events.</summary>
    public required long Events { get; init; }

    /// <summary>Events by kind, most frequent first.</summary>
    public required IReadOnlyList<NamedCount> EventsByKind { get; init; }

    /// <summary>Lines that are neither an event, a comment, a lost marker nor empty.</summary>
    public required long UnparsedLines { get; init; }

    /// <summary>The first <see cref="ListedLines"/> of them.</summary>
    public required IReadOnlyList<InputLine> FirstUnparsedLines { get; init; }

    /// <summary>Markers of the recorder that events were lost.</summary>
    public required long LostMarkers { get; init; }

    /// <summary>The first <see cref="ListedLines"/> of them.</summary>
    public required IReadOnlyList<InputLine> FirstLostMarkers { get; init; }

    /// <summary>Events that the recorder says it lost, from the markers and the header; 0 when it says none.</summary>
    public long LostEvents { get; init; }

    /// <summary>The first event's time, in seconds of the file's clock (a DMA log: of the first line, since the epoch).</summary>
    public required double FirstSeconds { get; init; }

    /// <summary>The last event's time on the same clock.</summary>
    public required double LastSeconds { get; init; }

    /// <summary>How often the time goes backwards from one event to the next.</summary>
    public required long BackwardSteps { get; init; }

    /// <summary>Events by CPU, <c>0</c>, <c>1</c>…; empty when the format has none.</summary>
    public IReadOnlyList<NamedCount> EventsByCpu { get; init; } = [];

    /// <summary>How much time the file covers.</summary>
    public double SpanSeconds => LastSeconds - FirstSeconds;
}

/// <summary>One line of an input.</summary>
/// <param name="Line">Its number, from 1.</param>
/// <param name="Text">The line, cut to at most 200 characters, control characters replaced.</param>
public sealed record InputLine(long Line, string Text);

/// <summary>How maps and unmaps were tied to devices.</summary>
public sealed record AttributionReport
{
    /// <summary>Maps by the evidence that named the device (<c>dma_map_phys</c>, <c>iova_link</c>, <c>attach</c>, <c>rest</c>, …).</summary>
    public required IReadOnlyList<NamedCount> Maps { get; init; }

    /// <summary>Unmaps by the evidence that named the device.</summary>
    public required IReadOnlyList<NamedCount> Unmaps { get; init; }

    /// <summary>The device that took what nothing named, or null when there was no need or no such device.</summary>
    public string? RestDevice { get; init; }

    /// <summary>Maps that no event ties to a device and that went to <see cref="RestDevice"/>, or nowhere without one.</summary>
    public required long MapsWithoutEvidence { get; init; }

    /// <summary>Unmaps that no event ties to a device.</summary>
    public required long UnmapsWithoutEvidence { get; init; }
}
