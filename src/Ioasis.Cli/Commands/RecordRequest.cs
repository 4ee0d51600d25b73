using Ioasis.Recorder;

namespace Ioasis.Cli.Commands;

/// <summary>What a user asked <c>ioasis record</c> for.</summary>
internal sealed record RecordRequest
{
    /// <summary>The file; <c>-</c> is standard output; null to choose a name.</summary>
    public string? Output { get; init; }

    /// <summary>How long; null without a limit.</summary>
    public TimeSpan? Duration { get; init; }

    /// <summary>The program to run and its arguments; empty without one.</summary>
    public IReadOnlyList<string> Command { get; init; } = [];

    /// <summary>Whether only to say what would be done.</summary>
    public bool IsDryRun { get; init; }

    /// <summary>Whether only to remove what killed recorders left.</summary>
    public bool IsClean { get; init; }

    /// <summary>The recorder's own choices.</summary>
    public RecorderOptions Options { get; init; } = new();
}
