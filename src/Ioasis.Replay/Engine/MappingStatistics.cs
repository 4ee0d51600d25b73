using System.Numerics;
using System.Runtime.InteropServices;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Engine;

/// <summary>What one device mapped and unmapped, summed up.</summary>
internal sealed class DeviceSums
{
    public long Maps { get; set; }

    public long Unmaps { get; set; }

    public long Direct { get; set; }

    public long MappedBytes { get; set; }
}

/// <summary>Sums over maps and unmaps that a report shows, gathered while they pass.</summary>
internal sealed class MappingStatistics
{
    // Sizes that are powers of two, as nearly all are, by their logarithm; the others.
    private readonly (long Maps, long Unmaps)[] _powers = new (long Maps, long Unmaps)[64];
    private readonly Dictionary<ulong, (long Maps, long Unmaps)> _otherSizes = [];
    private readonly long[] _leaves = new long[64];
    private readonly List<DeviceSums> _devices = [];

    /// <summary>Maps of the recording.</summary>
    public long Maps { get; private set; }

    /// <summary>Unmaps of the recording.</summary>
    public long Unmaps { get; private set; }

    /// <summary>Bytes of the maps.</summary>
    public long MappedBytes { get; private set; }

    /// <summary>Bytes of the unmaps.</summary>
    public long UnmappedBytes { get; private set; }

    /// <summary>Line of the first event that names no device.</summary>
    public int FirstLineWithoutDevice { get; private set; }

    /// <summary>Maps by evidence.</summary>
    public long[] MapEvidence { get; } = new long[Enum.GetValues<Evidence>().Length];

    /// <summary>Unmaps by evidence.</summary>
    public long[] UnmapEvidence { get; } = new long[Enum.GetValues<Evidence>().Length];

    /// <summary>How long mappings lived.</summary>
    public DurationSketch Lifetimes { get; } = new();

    /// <summary>From unmaps to invalidations of the recording.</summary>
    public FlushDelays FlushDelays { get; } = new();

    /// <summary>Maps and unmaps by size.</summary>
    public IEnumerable<(ulong Size, long Maps, long Unmaps)> Sizes => _powers
        .Select(static (count, log2) => (1ul << log2, count.Maps, count.Unmaps))
        .Concat(_otherSizes.Select(static size => (size.Key, size.Value.Maps, size.Value.Unmaps)))
        .Where(static size => size.Maps + size.Unmaps > 0);

    /// <summary>Leaves that were installed by log2 of their size.</summary>
    public ReadOnlySpan<long> Leaves => _leaves;

    /// <summary>One device's sums.</summary>
    public DeviceSums Of(int device)
    {
        while (_devices.Count <= device)
        {
            _devices.Add(new());
        }

        return _devices[device];
    }

    /// <summary>An event.</summary>
    /// <param name="e">The event.</param>
    /// <param name="named">Whether something names its device.</param>
    /// <param name="isOfRecording">False for what was learned to be mapped before the recording began.</param>
    public void Event(in MappingEvent e, bool named, bool isOfRecording)
    {
        (e.IsUnmap ? UnmapEvidence : MapEvidence)[(int)e.Evidence]++;
        if (!named && FirstLineWithoutDevice == 0)
        {
            FirstLineWithoutDevice = e.Line;
        }

        if (e.IsUnmap)
        {
            FlushDelays.Unmap(e.TimeNs);
        }

        if (!isOfRecording)
        {
            return;
        }

        ref (long Maps, long Unmaps) size = ref ulong.IsPow2(e.Length)
            ? ref _powers[BitOperations.TrailingZeroCount(e.Length)]
            : ref CollectionsMarshal.GetValueRefOrAddDefault(_otherSizes, e.Length, out _);
        if (e.IsUnmap)
        {
            size.Unmaps++;
            Unmaps++;
            UnmappedBytes += (long)e.Length;
        }
        else
        {
            size.Maps++;
            Maps++;
            MappedBytes += (long)e.Length;
        }
    }

    /// <summary>An area begins.</summary>
    public void Mapped(in LiveArea area)
    {
        LeafSizes.Count(area.Start, area.Physical, area.Length, _leaves);
        if ((area.Flags & AreaFlags.Remainder) == 0)
        {
            DeviceSums sums = Of(area.Device);
            sums.Maps++;
            sums.MappedBytes += (long)area.Length;
            sums.Direct += (area.Flags & AreaFlags.Direct) != 0 ? 1 : 0;
        }
    }

    /// <summary>Areas end.</summary>
    public void Unmapped(in PlanCall call, ReadOnlySpan<LiveArea> ended)
    {
        Of(call.Device).Unmaps += call.CheckLength > 0 ? 1 : 0;
        foreach (ref readonly LiveArea area in ended)
        {
            Lifetimes.Add((call.TimeNs - area.MapTimeNs) / 1e9);
        }
    }
}
