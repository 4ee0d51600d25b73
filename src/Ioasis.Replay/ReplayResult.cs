namespace Ioasis.Replay;

/// <summary>What came of a replay: how much was checked by DMA, and what did not hold. <c>ioasis run --json</c> has all figures.</summary>
public sealed record ReplayResult
{
    /// <summary>Checks made; 0 with <see cref="CheckLevel.None"/> and no DMA log.</summary>
    public required long Checks { get; init; }

    /// <summary>Checks that did not hold, from 0 to <see cref="Checks"/>.</summary>
    public required long Mismatches { get; init; }

    /// <summary>
    /// One line for each of the first mismatches, at most a hundred, in the recording's order: file and line of the event, device, kind of check,
    /// IOVA, what had to happen, and what happened.
    /// </summary>
    public required IReadOnlyList<string> FirstMismatches { get; init; }

    /// <summary>Whether every check held.</summary>
    public bool Passed => Mismatches == 0;
}
