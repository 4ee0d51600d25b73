using Ioasis.Replay;

namespace Ioasis.Cli.Commands;

/// <summary>Tells a progress bar how far the engine is.</summary>
internal sealed class ForwardedProgress(Action<string, double> progress) : IProgress<ReplayProgress>
{
    /// <inheritdoc/>
    public void Report(ReplayProgress value) => progress(value.Phase, value.Fraction);
}
