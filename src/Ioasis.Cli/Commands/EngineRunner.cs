using Ioasis.Embedded;
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
        IommuSlot slot = IommuOption.SlotOf(request.Iommu);
        ReplayOptions options = new()
        {
            Iommu = slot,
            Tables = PageTableFormat.TryFind(request.Mode, out PageTableFormat? tables) ? tables : slot.Formats[0],
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
        return TraceReplayer.Run(request.Path, request.DmaLogPath, options, progress is null ? null : new Forward(progress));
    }

    private sealed class Forward(Action<string, double> progress) : IProgress<ReplayProgress>
    {
        public void Report(ReplayProgress value) => progress(value.Phase, value.Fraction);
    }
}
