using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Planning;

/// <summary>
/// By how much accesses seem to come before the map that they use. An access cannot be made before its map, so each is a lower
/// bound of how far the clocks are apart there: where many are early by the same time, it is the clocks.
/// </summary>
internal sealed class ClockLead
{
    private const double Window = 0.5;
    private const double Step = 0.1;
    private const int Enough = 20;

    // By the number of the step of time; where there are too few, there is none.
    private readonly Dictionary<long, double> _leads = [];
    private readonly List<double> _near = [];
    private readonly List<(double At, double Lead)> _waiting = [];
    private long _next;
    private long _decided = long.MinValue;

    /// <summary>Collects the leads of a log.</summary>
    /// <param name="placing">The mappings and the log.</param>
    /// <param name="most">Leads from here on, in seconds, are none.</param>
    public ClockLead(AccessPlacing placing, double most)
    {
        MappingWindow window = new(placing);
        SpilledList<DmaAccess>.Reader accesses = placing.Log.Accesses.Read();
        for (int i = 0; i < placing.Log.Accesses.Length; i++)
        {
            placing.CheckCancelled(i);
            ref readonly DmaAccess access = ref accesses[i];
            double at = placing.Clocks.ToTraceSeconds(access.TimeNs);
            window.MoveTo(at);
            if (access.Outcome == DmaOutcome.Translated
                && window.Find(placing.Devices[access.Device], access, at, out double distance) is int area && area >= 0
                && distance > 0 && distance < most && window[area].MapSeconds > at)
            {
                Add(at, distance, window.Earliest);
            }
        }

        Decide(double.PositiveInfinity);
    }

    /// <summary>How far the clocks are apart at a time: what nine of ten leads within half a second do not exceed; 0 for too few.</summary>
    public double At(double at) => _leads.GetValueOrDefault((long)Math.Round(at / Step));

    private void Add(double at, double lead, double earliest)
    {
        // The first step that it may be near to, of those that are open.
        long first = (long)Math.Floor((at - Window) / Step) - 1;
        _next = Math.Max(_decided + 1, _waiting.Count == 0 ? first : Math.Min(_next, first));
        _waiting.Add((at, lead));
        if ((_next * Step) + Window < earliest)
        {
            Decide(earliest);
        }
    }

    // The steps of time that nothing still to come is near to.
    private void Decide(double earliest)
    {
        while (_waiting.Count > 0 && (_next * Step) + Window < earliest)
        {
            double middle = _next * Step;
            _near.Clear();
            foreach ((double at, double lead) in _waiting)
            {
                if (at >= middle - Window && at < middle + Window)
                {
                    _near.Add(lead);
                }
            }

            if (_near.Count >= Enough)
            {
                _near.Sort();
                _leads.Add(_next, _near[_near.Count * 9 / 10]);
            }

            _decided = _next++;
            double kept = (_next * Step) - Window;
            _waiting.RemoveAll(lead => lead.At < kept);
        }
    }
}
