using System.Globalization;
using System.Text;
using Ioasis.Campaigns.Noise;

namespace Ioasis.Campaigns;

/// <summary>Noise for the models (tables, registers, requests) and for the ABI (calls), by seeds.</summary>
internal static class FuzzCampaign
{
    // So many seeds are one file of the campaign's folder.
    private const int SeedsOfUnit = 16;

    private static readonly INoise[] s_noises = [new RiscVNoise(), new VtdNoise(), new AbiNoise()];

    /// <summary>What can be fed with noise.</summary>
    public static IReadOnlyList<string> Targets { get; } = [.. s_noises.Select(static noise => noise.Name)];

    /// <summary>Makes the campaign.</summary>
    /// <param name="targets">Some of <see cref="Targets"/>.</param>
    /// <param name="first">The first seed, 0 or more.</param>
    /// <param name="count">How many seeds, 1 or more; the last one is at most 2^31 - 1.</param>
    /// <exception cref="ArgumentException">A target is unknown, or seeds are out of range.</exception>
    public static Campaign Create(IReadOnlyList<string> targets, int first, int count)
    {
        ArgumentNullException.ThrowIfNull(targets);
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, int.MaxValue - first);
        List<CampaignUnit> units = [];
        foreach (string target in targets)
        {
            INoise noise = Array.Find(s_noises, noise => string.Equals(noise.Name, target, StringComparison.Ordinal))
                ?? throw new ArgumentException($"'{target}' is none of {string.Join(", ", Targets)}", nameof(targets));
            for (int done = 0; done < count; done += SeedsOfUnit)
            {
                int from = first + done, seeds = Math.Min(SeedsOfUnit, count - done);
                units.Add(new(
                    string.Create(CultureInfo.InvariantCulture, $"{target} seeds {from} to {from + seeds - 1}"),
                    cancellationToken => Run(noise, from, seeds, cancellationToken)));
            }
        }

        return new(
            "fuzz",
            [
                new("targets", string.Join(',', targets)),
                new("seeds", string.Create(CultureInfo.InvariantCulture, $"{first}+{count}")),
            ],
            units);
    }

    private static UnitOutcome Run(INoise noise, int first, int count, CancellationToken cancellationToken)
    {
        NoiseReport report = new();
        for (int seed = first; seed < first + count; seed++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            report.Begin(seed);
            try
            {
                noise.Run(seed, report);
            }
#pragma warning disable CA1031 // That nothing at all is thrown is what is looked at.
            catch (Exception e)
#pragma warning restore CA1031
            {
                report.Find($"{e.GetType().Name}: {e.Message}");
            }
        }

        return new()
        {
            Figures = report.Counts,
            Findings = report.Findings,
            Document = Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{{\"digest\":\"{report.Digest:x16}\"}}")),
        };
    }
}
