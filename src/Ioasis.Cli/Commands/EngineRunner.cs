using Ioasis.Replay;
using Ioasis.Replay.Input;
using Ioasis.Replay.Report;
using Ioasis.RiscV.Driver;

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
            Mode = request.Mode switch { "sv39" => PagingMode.Sv39, "sv48" => PagingMode.Sv48, _ => PagingMode.Sv57 },
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
