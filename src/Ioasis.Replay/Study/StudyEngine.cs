using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Engine;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Study;

/// <summary>
/// Takes a plan's calls in the place of the whole stack: mappings begin, are used and end, and every access goes through the IOTLBs that are
/// studied. What stays in memory is what lives, 65,536 entries of each cache and sums.
/// </summary>
internal sealed class StudyEngine
{
    /// <summary>The driver's limit: an unmap of more leaves invalidates its whole address space with one command.</summary>
    public const int CommandLimit = 32;

    // Of a larger mapping only the first pages are assumed to be used: nobody knows which.
    private const ulong MostAssumedBytes = 1 << 22;

    private readonly ReplayCase _case;
    private readonly StudyOptions _options;
    private readonly IEnumerator<ScheduledDma> _accesses;
    private readonly SpilledList<DmaAccess>.Reader? _logged;
    private readonly List<StudiedSpace> _spaces = [];
    private readonly List<DistanceHistogram> _byDevice = [];
    private readonly (SimulatedCache Cache, CacheGeometry Geometry, Replacement Replacement)[] _simulated;
    private readonly long[] _simulatedHits;
    private bool _hasAccess;
    private long _lastUnmapEvent = -1;
    private ulong _lastKey;

    /// <summary>Makes an engine.</summary>
    public StudyEngine(ReplayCase replay, StudyOptions options)
    {
        _case = replay;
        _options = options;
        _accesses = replay.Accesses.GetEnumerator();
        _hasAccess = _accesses.MoveNext();
        _logged = replay.Log?.Accesses.Read();
        _simulated =
        [
            .. options.Geometries.SelectMany(static geometry => Enum.GetValues<Replacement>()
                .Select(replacement => (new SimulatedCache(geometry, replacement), geometry, replacement))),
        ];
        _simulatedHits = new long[_simulated.Length];
        AsMapped = new(LeafRule.AsMapped);
        Others = [.. Enum.GetValues<LeafRule>().Where(static rule => rule != LeafRule.AsMapped).Select(rule => new StudiedVariant(rule, AsMapped))];
        Lazy = new(options);
        Walks = new(options.WalkedIotlb);
    }

    /// <summary>The mappings as they were.</summary>
    public StudiedVariant AsMapped { get; }

    /// <summary>The other rules.</summary>
    public StudiedVariant[] Others { get; }

    /// <summary>Lazy invalidation.</summary>
    public LazyStudy Lazy { get; }

    /// <summary>Walks.</summary>
    public WalkStudy Walks { get; }

    /// <summary>Page sizes.</summary>
    public PageSizeStudy PageSizes { get; } = new();

    /// <summary>Commands of strict invalidation.</summary>
    public long StrictCommands { get; private set; }

    /// <summary>Unmaps that were invalidated.</summary>
    public long StrictWaits { get; private set; }

    /// <summary>Logged accesses that faulted.</summary>
    public long Faults { get; private set; }

    /// <summary>Logged accesses that no mapping explains.</summary>
    public long Unexplained { get; private set; }

    /// <summary>Whether anything happened.</summary>
    public bool DidAnything { get; private set; }

    /// <summary>How many devices there are.</summary>
    public int Devices => _spaces.Count;

    /// <summary>A device's mappings.</summary>
    public StudiedSpace SpaceOf(int device) => _spaces[device];

    /// <summary>The hits of a device's accesses.</summary>
    public HitCurve CurveOf(int device) => _byDevice[device].ToCurve();

    /// <summary>Takes everything.</summary>
    public void Run(PlanFeed feed, IProgress<ReplayProgress>? progress, CancellationToken cancellationToken)
    {
        DidAnything = _hasAccess;
        PlanBlock block;
        do
        {
            block = feed.Next();
            cancellationToken.ThrowIfCancellationRequested();
            Take(block);
            progress?.Report(new("studying", block.Fraction));
        }
        while (!block.IsLast);
        RunAccesses(long.MaxValue);
    }

    /// <summary>The simulated caches.</summary>
    public IReadOnlyList<SimulationReport> Simulations(HitCurve fullyAssociative) =>
    [
        .. _simulated.Select((s, i) => new SimulationReport(
            s.Geometry.Entries, s.Geometry.Ways, s.Replacement, _simulatedHits[i], fullyAssociative.HitsAt(s.Geometry.Entries))),
    ];

    private void Take(PlanBlock block)
    {
        for (int i = 0; i < block.NewDevices.Count; i++)
        {
            _spaces.Add(new());
            _byDevice.Add(new());
        }

        DidAnything |= block.Calls.Length > 0;
        foreach (ref readonly PlannedCall planned in block.Calls)
        {
            if (_hasAccess)
            {
                RunAccesses(planned.Call.Number - 1);
            }

            Lazy.MoveTo(planned.Call.TimeNs);
            if (planned.IsMap)
            {
                Map(planned);
            }
            else
            {
                Unmap(planned.Call, block.EndedBy(planned));
            }
        }
    }

    private void Map(in PlannedCall planned)
    {
        ref readonly PlanCall call = ref planned.Call;
        StudiedArea area = new() { Start = call.Start, Length = call.Length, Physical = planned.Value };
        _spaces[call.Device].Add(area);
        foreach (StudiedVariant variant in Others)
        {
            variant.Meet(area);
        }

        // What stays of a mapping of which a part was unmapped is no new one.
        if (call.Event == _lastUnmapEvent)
        {
            return;
        }

        PageSizes.Add(area);
        if (_case.Log is null && _options.Use != AssumedUse.Unmap)
        {
            Touch(call.Device, area);
        }
    }

    private void Unmap(in PlanCall call, ReadOnlySpan<AddressRange> ended)
    {
        int device = call.Device;
        long leaves = 0;
        _lastUnmapEvent = call.CheckLength > 0 ? call.Event : -1;
        foreach (AddressRange range in ended)
        {
            leaves += _spaces[device].Remove(range.Start, out StudiedArea area);
            if (_case.Log is null && _options.Use != AssumedUse.Map)
            {
                Touch(device, area);
            }

            Remove(device, area);
        }

        StrictCommands += leaves <= CommandLimit ? leaves : 1;
        StrictWaits++;
        Lazy.EndUnmap(device, call.TimeNs);
    }

    private void Remove(int device, in StudiedArea area)
    {
        _lastKey = 0;
        AsMapped.Remove(device, area);
        foreach (StudiedVariant variant in Others)
        {
            if (!variant.Follows)
            {
                variant.Remove(device, area);
            }
        }

        Walks.Remove(device, area);
        Lazy.Unmap(device, area);
        foreach ((SimulatedCache cache, CacheGeometry geometry, _) in _simulated)
        {
            RemoveFrom(cache, geometry, device, area);
        }
    }

    private void RemoveFrom(SimulatedCache cache, CacheGeometry geometry, int device, in StudiedArea area)
    {
        if (area.Length >> 12 > (ulong)(geometry.Entries / geometry.Ways))
        {
            cache.RemoveWhere(new TranslationKey.InRange(device, area.Start, area.Start + (area.Length - 1)));
            return;
        }

        for (ulong offset = 0; offset < area.Length;)
        {
            Leaf leaf = AsMapped.Layout.At(area, offset);
            cache.Remove(TranslationKey.Of(device, area.Start + leaf.Offset, leaf.SizeClass));
            offset = leaf.End;
        }
    }

    /// <summary>Makes the logged accesses whose place is after a call.</summary>
    private void RunAccesses(long afterCall)
    {
        for (; _hasAccess && _accesses.Current.AfterStep <= afterCall; _hasAccess = _accesses.MoveNext())
        {
            ScheduledDma scheduled = _accesses.Current;
            if (scheduled.Class is DmaClass.RecordedFault)
            {
                Faults++;
            }
            else if (scheduled.Class is not DmaClass.OutsideRecording)
            {
                ulong iova = _logged![scheduled.Access].Iova;
                if (_spaces[scheduled.Device].TryFind(iova, out StudiedArea area))
                {
                    Use(scheduled.Device, area, iova - area.Start, 1);
                }
                else
                {
                    Unexplained++;
                }
            }
        }
    }

    private void Touch(int device, in StudiedArea area) => Use(device, area, 0, Math.Min(area.Length, MostAssumedBytes));

    /// <summary>Accesses bytes of a mapping, each page once.</summary>
    private void Use(int device, in StudiedArea area, ulong offset, ulong bytes)
    {
        foreach (StudiedVariant variant in Others)
        {
            if (!variant.Follows)
            {
                variant.Touch(device, area, offset, bytes);
            }
        }

        Lazy.Caches.Touch(device, area, offset, bytes);
        ulong end = offset + bytes;
        while (offset < end)
        {
            Leaf leaf = AsMapped.Layout.At(area, offset);
            ulong next = Math.Min(leaf.End, end);
            UseLeaf(device, area, leaf, (long)((next - offset + 4095) >> 12));
            offset = next;
        }
    }

    private void UseLeaf(int device, in StudiedArea area, in Leaf leaf, long times)
    {
        int distance = AsMapped.Access(device, area, leaf, times);
        DistanceHistogram own = _byDevice[device];
        own.Add(distance);
        if (times > 1)
        {
            own.Add(1, times - 1);
        }

        ulong iova = area.Start + leaf.Offset;
        Walks.Access(device, iova, leaf.SizeClass, distance);
        ulong key = TranslationKey.Of(device, iova, leaf.SizeClass);
        for (int i = 0; i < _simulated.Length; i++)
        {
            // Whatever was used last is there still, in every cache.
            _simulatedHits[i] += key == _lastKey || _simulated[i].Cache.Access(key) ? times : times - 1;
        }

        _lastKey = key;
    }
}
