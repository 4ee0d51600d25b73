using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Tests;

/// <summary>
/// By how much accesses seem to come before the map that they use. An access cannot be made before its map, so each is a lower
/// bound of how far the clocks are apart there: where many are early by the same time, it is the clocks.
/// </summary>
internal sealed class WholeLeads
{
    private readonly List<(double At, double Lead)> _leads = [];
    private double _leadAt = double.NaN;
    private double _lead;

    /// <summary>Collects the leads of a log.</summary>
    /// <param name="history">The mappings.</param>
    /// <param name="log">The log.</param>
    /// <param name="devices">For each device of the log the device of the plan.</param>
    /// <param name="alignment">How the clocks are tied.</param>
    /// <param name="most">Leads from here on, in seconds, are none.</param>
    public WholeLeads(WholeHistory history, DmaLog log, int[] devices, ClockTie alignment, double most)
    {
        foreach (DmaAccess access in log.Accesses)
        {
            double at = alignment.ToTraceSeconds(access.TimeNs);
            if (access.Outcome == DmaOutcome.Translated
                && history.Find(devices[access.Device], access, at, out double distance) is int area && area >= 0
                && distance > 0 && distance < most && history.MapSeconds(area) > at)
            {
                _leads.Add((at, distance));
            }
        }

        _leads.Sort();
    }

    /// <summary>How far the clocks are apart at a time: what nine of ten leads within half a second do not exceed; 0 for too few.</summary>
    public double At(double at)
    {
        const double window = 0.5;
        const double step = 0.1;
        const int enough = 20;
        at = Math.Round(at / step) * step;
        if (_leadAt == at)
        {
            return _lead;
        }

        _leadAt = at;
        _lead = 0;
        int low = _leads.BinarySearch((at - window, 0));
        int high = _leads.BinarySearch((at + window, 0));
        low = low < 0 ? ~low : low;
        high = high < 0 ? ~high : high;
        if (high - low < enough)
        {
            return 0;
        }

        List<double> near = _leads.GetRange(low, high - low).ConvertAll(static l => l.Lead);
        near.Sort();
        return _lead = near[near.Count * 9 / 10];
    }
}
