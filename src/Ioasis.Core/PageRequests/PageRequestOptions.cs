namespace Ioasis.Core;

/// <summary>Where handlers of page requests run.</summary>
internal enum PageRequestDispatch
{
    /// <summary>
    /// On threads of the router's own, which exist while there are page requests and some seconds longer. With an injector on
    /// the reader's thread, as <see cref="Inline"/>.
    /// </summary>
    Worker,

    /// <summary>On the thread that reads the hardware's queue, after it has let go of the queue. Deterministic.</summary>
    Inline,

    /// <summary>Where <see cref="PageRequestRouter.TryRun"/> is called. For schedules that a test decides.</summary>
    Manual,
}

/// <summary>How much a router keeps and where it works. The counts are of pages, not of groups.</summary>
internal sealed record PageRequestOptions
{
    /// <summary>Where handlers run.</summary>
    public PageRequestDispatch Dispatch { get; init; }

    /// <summary>Handlers that run at the same time, 1 or more, in <see cref="PageRequestDispatch.Worker"/>.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>How long such a thread sleeps before it ends.</summary>
    internal TimeSpan WorkerSleep { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Pages that one device may have asked for without an answer: what the system wrote to its "Outstanding Page Request
    /// Allocation". A device that asks for more gets "response failure".
    /// </summary>
    public int MaxPagesPerDevice { get; init; } = 512;

    /// <summary>Pages that all devices may have asked for. The group that exceeds it gets "invalid request".</summary>
    public int MaxPages { get; init; } = 16384;
}

/// <summary>What a router did so far.</summary>
internal readonly record struct PageRequestStatistics
{
    /// <summary>Pages that devices asked for.</summary>
    public long Requests { get; init; }

    /// <summary>Groups that were complete.</summary>
    public long Groups { get; init; }

    /// <summary>Groups answered by their handlers.</summary>
    public long Answered { get; init; }

    /// <summary>Groups answered because of a detach.</summary>
    public long Canceled { get; init; }

    /// <summary>Groups that nobody handles: there is no domain or no handler.</summary>
    public long Unhandled { get; init; }

    /// <summary>Groups refused because the backlog was full.</summary>
    public long Refused { get; init; }

    /// <summary>Incomplete groups that were dropped: detach, stop marker, or records that the hardware lost.</summary>
    public long DroppedPartials { get; init; }

    /// <summary>Stop markers.</summary>
    public long StopMarkers { get; init; }

    /// <summary>Pages that wait now, in partial groups or for an answer.</summary>
    public int Waiting { get; init; }
}
