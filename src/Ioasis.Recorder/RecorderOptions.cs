namespace Ioasis.Recorder;

/// <summary>What a user may choose about a recording.</summary>
internal sealed record RecorderOptions
{
    /// <summary>Room of each CPU's buffer in KiB; null to let the recorder choose.</summary>
    public int? BufferKib { get; init; }

    /// <summary>Whether to record where there may be nothing to record, or nothing that gives maps their devices.</summary>
    public bool Anyway { get; init; }

    /// <summary>The recorder's version, for the file.</summary>
    public string Version { get; init; } = "";
}

/// <summary>What a recording came to.</summary>
/// <param name="Reason">Why it ended: <c>command</c>, <c>duration</c>, <c>interrupt</c>, <c>disk-full</c>, <c>error</c>.</param>
internal sealed record RecordingResult(string Reason)
{
    /// <summary>Events in the file.</summary>
    public long Events { get; init; }

    /// <summary>Bytes of the file.</summary>
    public long Bytes { get; init; }

    /// <summary>Events that were lost, by CPU.</summary>
    public IReadOnlyDictionary<int, long> Lost { get; init; } = new Dictionary<int, long>();

    /// <summary>Probes that did not run each time.</summary>
    public IReadOnlyList<ProbeMiss> Missed { get; init; } = [];

    /// <summary>The command's exit status.</summary>
    public int? Status { get; init; }

    /// <summary>What went wrong, in words; empty if nothing did.</summary>
    public IReadOnlyList<string> Problems { get; init; } = [];

    /// <summary>What the recording lacks, in words.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}

/// <summary>A probe that did not run each time that its function was entered.</summary>
/// <param name="Event">Its event.</param>
/// <param name="Hits">How often it ran.</param>
/// <param name="Misses">How often it did not.</param>
internal sealed record ProbeMiss(string Event, long Hits, long Misses);
