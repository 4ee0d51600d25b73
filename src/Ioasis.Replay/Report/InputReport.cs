namespace Ioasis.Replay.Report;

/// <summary>What was read from one file.</summary>
internal sealed record InputReport
{
    /// <summary>How many unparsed lines and lost markers a report lists in full.</summary>
    public const int ListedLines = 10;

    /// <summary>Path as given; <c>-</c> for standard input.</summary>
    public required string Path { get; init; }

    /// <summary>Name of the format: <c>ftrace</c>, <c>trace-cmd</c>, <c>trace-dat</c>, <c>perf-script</c>, <c>dma-log</c>.</summary>
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

    /// <summary>What the unparsed lines look like, most frequent first.</summary>
    public IReadOnlyList<NamedCount> UnparsedKinds { get; init; } = [];

    /// <summary>Events that name a device and an address and that are not known here, by name: what they say is not replayed.</summary>
    public IReadOnlyList<NamedCount> UnknownEvents { get; init; } = [];

    /// <summary>Events of which the recorder wrote only a part, because they did not fit its line.</summary>
    public long CutEvents { get; init; }

    /// <summary>What the file's times count: <c>seconds</c>, <c>microseconds</c> since the buffer began, <c>ticks</c> of a counter of unknown rate (reported as if they were nanoseconds), or <c>none</c>.</summary>
    public string Clock { get; init; } = "seconds";

    /// <summary>Whether it is a recording of <c>ioasis record</c> that was cut off before its end.</summary>
    public bool WasCutOff { get; init; }

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
internal sealed record InputLine(long Line, string Text);

/// <summary>Maps and unmaps whose device was found in one way.</summary>
/// <param name="Name">
/// <c>probe</c> (it told the domain or the device), <c>DMA event</c>, <c>device field</c> of the event, <c>direct region</c>
/// before an attach, <c>only device</c>, <c>DMA log</c> (who uses it), <c>inferred</c>, <c>given</c> by the caller, <c>unknown</c>.
/// </param>
/// <param name="Maps">Maps.</param>
/// <param name="Unmaps">Unmaps.</param>
internal sealed record AttributionClass(string Name, long Maps, long Unmaps);

/// <summary>How maps and unmaps were tied to devices.</summary>
internal sealed record AttributionReport
{
    /// <summary>Maps and unmaps by how their device was found, the surest way first; their sums are all maps and all unmaps.</summary>
    public IReadOnlyList<AttributionClass> Ways { get; init; } = [];

    /// <summary>
    /// IOVA spaces that were told apart by what is mapped at the same time and stand among the devices as <c>space 1</c>…, because the
    /// recording does not say whose they are.
    /// </summary>
    public int Spaces { get; init; }

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
