namespace Ioasis.Replay.Planning;

/// <summary>What a plan depends on besides the recording.</summary>
internal sealed record PlanOptions
{
    /// <summary>Name of the device that takes what nothing names; null to infer it.</summary>
    public string? Rest { get; init; }

    /// <summary>The last IOVA that can be mapped, inclusive.</summary>
    public ulong LastIova { get; init; } = ulong.MaxValue;

    /// <summary>For each event the device that the DMA log shows, or -1; null without a log.</summary>
    internal int[]? Overrides { get; init; }

    /// <summary>How <see cref="Rest"/> was found, for the report.</summary>
    internal RestChoice RestChoice { get; init; } = RestChoice.Given;
}
