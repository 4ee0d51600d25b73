using Ioasis.PageTables;
using Ioasis.Replay;
using Ioasis.Replay.Input;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Commands;

/// <summary>Runs the replay engine for a request of the command line.</summary>
internal static class EngineRunner
{
    /// <summary>Replays.</summary>
    /// <exception cref="TraceInputException">The input cannot be replayed.</exception>
    public static ReplayReport Run(RunRequest request, Action<string, double>? progress)
    {
        ReplayOptions options = new()
        {
            Iommu = request.Iommu is { } iommu ? IommuOption.SlotOf(iommu) : null,
            Tables = request.Mode is { } mode && PageTableFormat.TryFind(mode, out PageTableFormat? tables) ? tables : null,
            IotlbEntries = request.IotlbEntries,
            IotlbWays = request.IotlbWays,
            LazyInvalidation = request.Lazy,
            Hostile = request.Hostile,
            Check = request.Check switch { "none" => CheckLevel.None, "all" => CheckLevel.All, _ => CheckLevel.Sampled },
            Seed = request.Seed,
            RestDevice = request.RestDevice,
            Format = TraceFormats.TryParse(request.Format, out TraceFormat format) ? format : TraceFormat.Unknown,
            StrictInput = request.StrictInput,
            ToleranceSeconds = request.ToleranceSeconds,
        };
        return TraceReplayer.Run(request.Path, request.DmaLogPath, options, progress is null ? null : new ForwardedProgress(progress));
    }
}
