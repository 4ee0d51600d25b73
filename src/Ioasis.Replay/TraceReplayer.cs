using System.Diagnostics;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Engine;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay;

/// <summary>
/// Replays a recording through the whole stack: client, ABI, kernel side, core, driver, page tables, hardware model. The one
/// entry to this project.
/// </summary>
public static class TraceReplayer
{
    /// <summary>Replays a recording and says whether the hardware model did at each check what the recording says.</summary>
    /// <param name="path">A kernel trace, or a DMA log to learn mappings from; <c>-</c> is standard input.</param>
    /// <param name="dmaLogPath">A DMA log of the same run as the kernel trace, or null.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="progress">Told how far it is, or null.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="TraceInputException">An input cannot be read; the message names file and line.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static ReplayResult Check(
        string path,
        string? dmaLogPath = null,
        ReplayOptions? options = null,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        CheckReport checks = Run(path, dmaLogPath, options, progress, cancellationToken).Checks;
        return new()
        {
            Checks = checks.CheckCount,
            Mismatches = checks.MismatchCount,
            FirstMismatches =
            [
                .. checks.FirstMismatches.Select(static mismatch =>
                    $"{mismatch.Path}:{mismatch.Line}: {mismatch.Device}: {mismatch.Kind}: IOVA 0x{mismatch.Iova.Value:x}: expected {mismatch.Expected}, got {mismatch.Got}"),
            ],
        };
    }

    /// <summary>Reads and replays.</summary>
    /// <param name="path">A kernel trace, or a DMA log to learn mappings from; <c>-</c> is standard input.</param>
    /// <param name="dmaLogPath">A DMA log of the same run as the kernel trace, or null.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="progress">Told how far it is, or null.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="TraceInputException">An input cannot be read; the message names file and line.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    internal static ReplayReport Run(
        string path,
        string? dmaLogPath = null,
        ReplayOptions? options = null,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new();
        Stopwatch watch = Stopwatch.StartNew();
        using OpenedCase opened = OpenedCase.Open(path, dmaLogPath, options, progress, cancellationToken);
        return Replay(opened.Case, options, TimeSpan.Zero, watch, progress, cancellationToken);
    }

    /// <summary>Replays a kernel trace that was read already, with or without the DMA log of the same run.</summary>
    /// <exception cref="TraceInputException">The log does not belong to the trace.</exception>
    internal static ReplayReport Run(
        KernelTrace trace,
        DmaLog? log,
        ReplayOptions? options = null,
        TimeSpan parseTime = default,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(trace);
        options ??= new();
        Stopwatch watch = Stopwatch.StartNew();
        progress?.Report(new("planning", 0));
        return Replay(
            OpenedCase.Of(trace, log, options, parseTime, cancellationToken), options, parseTime, watch, progress, cancellationToken);
    }

    /// <summary>Replays a DMA log alone, with mappings learned from it.</summary>
    internal static ReplayReport Run(
        DmaLog log,
        ReplayOptions? options = null,
        TimeSpan parseTime = default,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(log);
        options ??= new();
        Stopwatch watch = Stopwatch.StartNew();
        progress?.Report(new("planning", 0));
        return Replay(OpenedCase.Of(log, options, parseTime), options, parseTime, watch, progress, cancellationToken);
    }

    private static ReplayReport Replay(
        ReplayCase replay,
        ReplayOptions options,
        TimeSpan parseTime,
        Stopwatch watch,
        IProgress<ReplayProgress>? progress,
        CancellationToken cancellationToken)
    {
        PlanStage plan = new(replay, options.RecordSeries);
        using PlanFeed feed = new(plan, options.ReadInThread);
        PlanBlock first = feed.Next();
        TraceClock clock = new();
        if (plan.StartNs is { } start)
        {
            clock.MoveTo(start);
        }

        TimeSpan waited = watch.Elapsed;
        using ReplayStack stack = new(options, replay.Target, clock);
        InputLog input = replay.Feed.Trace.Input;
        CheckLog checks = new(input.Path, (replay.Log?.Input ?? input).Path);
        CounterSeries counters = new(stack);
        ReplayEngine engine = new(replay, options, stack, clock, checks, counters);
        engine.Run(feed, first, progress, cancellationToken);
        plan.Finish();
        if (!engine.DidAnything)
        {
            throw OpenedCase.NothingReplayable(plan, replay);
        }

        counters.Sample(input.LastTimeNs / 1e9);
        SeriesReport series = plan.Series.Finish(input.LastTimeNs, counters);
        TimeSpan elapsed = watch.Elapsed + parseTime;
        return new ReportBuilder(replay, options, replay.Target, stack, plan, engine).Build(checks.ToReport(), series, elapsed, watch.Elapsed - waited);
    }
}
