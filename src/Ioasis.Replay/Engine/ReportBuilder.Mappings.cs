using System.Globalization;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <content>Devices, mappings, odd cases.</content>
internal sealed partial class ReportBuilder
{
    private DeviceReport[] Devices()
    {
        int count = _trace.Devices.Count;
        DeviceSums[] sums = new DeviceSums[count];
        List<int>[] areas = new List<int>[count];
        for (int i = 0; i < count; i++)
        {
            areas[i] = [];
        }

        for (int i = 0; i < _plan.Areas.Length; i++)
        {
            ref readonly Area area = ref _plan.Areas[i];
            ref DeviceSums sum = ref sums[area.Device];
            areas[area.Device].Add(i);
            if ((area.Flags & AreaFlags.Remainder) == 0)
            {
                sum.Maps++;
                sum.MappedBytes += (long)area.Length;
                sum.Direct += (area.Flags & AreaFlags.Direct) != 0 ? 1 : 0;
            }

            if (area.EndEvent < 0)
            {
                sum.EndRanges++;
                sum.EndBytes += (long)area.Length;
            }
        }

        foreach (ref readonly PlanStep step in _plan.Steps.AsSpan())
        {
            sums[step.Device].Unmaps += step.Kind == StepKind.Unmap && step.CheckLength > 0 ? 1 : 0;
        }

        List<DeviceReport> result = [];
        for (int device = 0; device < count; device++)
        {
            long logged = engine.ClassesByDevice[device].Sum();
            ref readonly DeviceSums sum = ref sums[device];
            if (sum.Maps == 0 && sum.Unmaps == 0 && logged == 0)
            {
                continue;
            }

            DeviceCounts s = _hardware.Device(_trace.Devices.Id(device));
            result.Add(new()
            {
                Name = _trace.Devices.Name(device),
                DeviceId = _trace.Devices.Id(device),
                Maps = sum.Maps,
                Unmaps = sum.Unmaps,
                DirectRegions = sum.Direct,
                MappedBytes = sum.MappedBytes,
                PeakLiveBytes = (long)_plan.PeakBytesByDevice[device],
                PeakLiveRanges = _plan.PeakAreasByDevice[device],
                EndLiveBytes = sum.EndBytes,
                EndLiveRanges = sum.EndRanges,
                PeakFragmentation = Fragmentation(areas[device], _plan.PeakBytesEventByDevice[device]),
                EndFragmentation = Fragmentation(areas[device], int.MaxValue),
                PageTables = new(engine.PeakTableBytes[device], stack.TableBytes(device)),
                Translation = new()
                {
                    Translations = engine.TranslationsByDevice[device],
                    IotlbHits = s.Hits,
                    IotlbMisses = s.Misses,
                    IotlbEvictions = s.Evictions,
                    Walks = s.Misses,
                    WalkMemoryReads = s.WalkReads,
                    Faults = engine.FaultsByDevice[device],
                },
                LoggedDmas = logged,
            });
        }

        return [.. result.OrderBy(d => d.Name, StringComparer.Ordinal)];
    }

    /// <summary>How scattered the areas are that live after an event.</summary>
    private FragmentationReport Fragmentation(List<int> areas, int afterEvent)
    {
        List<(ulong Start, ulong Length)> live = [];
        foreach (int index in areas)
        {
            ref readonly Area area = ref _plan.Areas[index];
            if (area.MapEvent <= afterEvent && (area.EndEvent < 0 || area.EndEvent > afterEvent))
            {
                live.Add((area.Start, area.Length));
            }
        }

        if (live.Count == 0)
        {
            return FragmentationReport.Empty;
        }

        live.Sort();
        long extents = 1;
        long bytes = (long)live[0].Length;
        ulong gap = 0;
        ulong end = live[0].Start + live[0].Length;
        for (int i = 1; i < live.Count; i++)
        {
            bytes += (long)live[i].Length;
            if (live[i].Start != end)
            {
                extents++;
                gap = Math.Max(gap, live[i].Start - end);
            }

            end = live[i].Start + live[i].Length;
        }

        return new() { Extents = extents, LiveBytes = bytes, SpanBytes = end - live[0].Start, LargestGapBytes = gap };
    }

    private MappingReport Mappings()
    {
        SortedDictionary<ulong, (long Maps, long Unmaps)> sizes = [];
        long maps = 0;
        long unmaps = 0;
        long mapped = 0;
        long unmapped = 0;
        foreach (ref readonly MappingEvent e in _trace.Mappings.AsSpan(_trace.MappedBefore))
        {
            (long m, long u) = sizes.GetValueOrDefault(e.Length);
            sizes[e.Length] = e.IsUnmap ? (m, u + 1) : (m + 1, u);
            if (e.IsUnmap)
            {
                unmaps++;
                unmapped += (long)e.Length;
            }
            else
            {
                maps++;
                mapped += (long)e.Length;
            }
        }

        List<double> lifetimes = [];
        List<NeverUnmappedRange> listed = [];
        foreach (ref readonly Area area in _plan.Areas.AsSpan())
        {
            MappingEvent map = _trace.Mappings[area.MapEvent];
            if (area.EndEvent >= 0)
            {
                lifetimes.Add((_plan.EndTimeNs(area) - map.TimeNs) / 1e9);
            }
            else if (listed.Count < MappingReport.ListedRanges)
            {
                listed.Add(new()
                {
                    Device = _trace.Devices.Name(area.Device),
                    Iova = new(area.Start),
                    LengthBytes = (long)area.Length,
                    PhysicalAddress = new(area.Physical),
                    Line = map.Line,
                    MappedAtSeconds = map.TimeNs / 1e9,
                });
            }
        }

        return new()
        {
            Maps = maps,
            Unmaps = unmaps,
            MappedBytes = mapped,
            UnmappedBytes = unmapped,
            BySize =
            [
                .. sizes.Select(s => new RangeSizeCount((long)s.Key, s.Value.Maps, s.Value.Unmaps))
                    .OrderByDescending(s => s.Maps + s.Unmaps),
            ],
            Leaves = Leaves(),
            PeakLiveBytes = (long)_plan.PeakBytes,
            PeakLiveBytesAtSeconds = _trace.Mappings.Length == 0 ? 0 : _trace.Mappings[_plan.PeakBytesEvent].TimeNs / 1e9,
            PeakLiveRanges = _plan.PeakAreas,
            EndLiveBytes = (long)_plan.EndBytes,
            EndLiveRanges = _plan.EndAreas,
            Lifetimes = Durations(lifetimes),
            NeverUnmapped = _plan.EndAreas,
            NeverUnmappedBytes = (long)_plan.EndBytes,
            NeverUnmappedRanges = listed,
        };
    }

    /// <summary>
    /// Leaves by size. Those that live are asked of the page tables; those that were installed follow from the areas, for a table
    /// maps each area with the largest leaves that fit.
    /// </summary>
    private LeafSizeCount[] Leaves()
    {
        SortedDictionary<int, (long Installed, long Live)> counts = [];
        foreach (ref readonly Area area in _plan.Areas.AsSpan())
        {
            LeafSizes.Count(area.Start, area.Physical, area.Length, (log2, leaves) =>
            {
                (long installed, long live) = counts.GetValueOrDefault(log2);
                counts[log2] = (installed + leaves, live);
            });
            if (area.EndEvent >= 0 || stack.DomainOf(area.Device) is not { } domain)
            {
                continue;
            }

            for (ulong at = area.Start; at - area.Start < area.Length;)
            {
                if (!domain.TryTranslate(new(at), out _, out _, out ulong size) || size == 0)
                {
                    break;
                }

                int log2 = System.Numerics.BitOperations.Log2(size);
                (long installed, long live) = counts.GetValueOrDefault(log2);
                counts[log2] = (installed, live + 1);
                at = (at & ~(size - 1)) + size;
            }
        }

        return [.. counts.Select(c => new LeafSizeCount(1L << c.Key, c.Value.Installed, c.Value.Live))];
    }

    private Oddity[] Oddities()
    {
        List<Oddity> result = [];
        PlanOddities odd = _plan.Oddities;
        foreach (PlanOddity kind in Enum.GetValues<PlanOddity>())
        {
            if (odd[kind] > 0)
            {
                (string name, string outcome) = Describe(kind);
                result.Add(new() { Name = name, Count = odd[kind], Outcome = outcome, FirstLine = odd.FirstLine(kind) });
            }
        }

        if (_trace.InterruptedPairs > 0)
        {
            result.Add(new()
            {
                Name = "interrupt between an unmap and the event that names its device",
                Count = _trace.InterruptedPairs,
                Outcome = "the unmap of exactly the named pages was taken, not the newest that overlaps",
                FirstLine = _trace.FirstInterruptedPair,
            });
        }

        if (_trace.Migrations > 0)
        {
            result.Add(new()
            {
                Name = "task on another CPU between a map and the event that names its device",
                Count = _trace.Migrations,
                Outcome = "tied by task, whatever the CPU",
                FirstLine = _trace.FirstMigration,
            });
        }

        if (_plan.MapsWithoutEvidence + _plan.UnmapsWithoutEvidence > 0)
        {
            result.Add(new()
            {
                Name = "maps and unmaps that no event ties to a device",
                Count = _plan.MapsWithoutEvidence + _plan.UnmapsWithoutEvidence,
                Outcome = RestOutcome(),
                FirstLine = Array.Find(_trace.Mappings, m => m.Device < 0).Line,
            });
        }

        if (replay.Refined > 0)
        {
            result.Add(new()
            {
                Name = "logged DMAs where the clocks are further apart than the tolerance",
                Count = replay.Refined,
                Outcome = "tied by the DMAs around them: none can come before its map; they count as within the tolerance",
            });
        }

        if (replay.NearMisses.Count > 0)
        {
            result.Add(new()
            {
                Name = "unexplained DMAs whose page is mapped so a little earlier or later",
                Count = replay.NearMisses.Count,
                Outcome = string.Create(
                    CultureInfo.InvariantCulture,
                    $"mismatches; where the recording's clocks are that loose, a tolerance of {Math.Ceiling(replay.NearMisses.Seconds * 1e3)} ms explains them"),
            });
        }

        if (_trace.MappedBefore > 0)
        {
            result.Add(new()
            {
                Name = "pages mapped before the recording began",
                Count = _trace.MappedBefore,
                Outcome = "their devices were attached before; learned from the first access in the DMA log",
            });
        }

        if (_trace.Input.LostMarkers > 0)
        {
            result.Add(new()
            {
                Name = "markers of lost events",
                Count = _trace.Input.LostMarkers,
                Outcome = "replayed what is there; a lost map shows as an unmap of what was never mapped, a lost unmap as a map over a live one",
                FirstLine = _trace.Input.FirstLostMarkers[0].Line,
            });
        }

        if (_trace.Input.BackwardSteps > 0)
        {
            result.Add(new()
            {
                Name = "time goes backwards",
                Count = _trace.Input.BackwardSteps,
                Outcome = "replayed in the file's order",
            });
        }

        if (engine.ReusedBeforeFlush > 0)
        {
            result.Add(new()
            {
                Name = "IOVA mapped again while its invalidation was pending",
                Count = engine.ReusedBeforeFlush,
                Outcome = "the queue was flushed before the map; checked with the new mapping",
            });
        }

        return [.. result];
    }

    private string RestOutcome() => _plan.RestChoice switch
    {
        RestChoice.Given => $"given to {_trace.Devices.Name(_plan.RestDevice)}, as asked",
        RestChoice.Inferred => $"given to {_trace.Devices.Name(_plan.RestDevice)}: the one device with DMA events that never overlaps them",
        RestChoice.DmaLog => $"given to the devices that use them in the DMA log, the others to {_trace.Devices.Name(_plan.RestDevice)}",
        RestChoice.Synthetic => $"given to a device of their own, \"{DeviceTable.UnattributedName}\"; --rest names a real one",
        _ => "unmaps went to the device that has the IOVA mapped",
    };

    private static (string Name, string Outcome) Describe(PlanOddity oddity) => oddity switch
    {
        PlanOddity.UnmapOfManyMaps => ("one unmap over several maps", "all of them unmapped with one call"),
        PlanOddity.PartialUnmap => ("part of a mapping unmapped", "the whole mapping unmapped, the rest mapped again"),
        PlanOddity.MapOverLive => ("map over a live mapping", "the old one unmapped first, what stands out mapped again"),
        PlanOddity.UnmapWithHoles => ("unmap of a range with holes", "what was mapped in it unmapped"),
        PlanOddity.UnmapOfUnknown => ("unmap of what was never mapped", "skipped: mapped before the recording began, or its map was lost"),
        PlanOddity.UnmappedSizeDiffers => ("kernel unmapped another size than asked", "the range that was asked for unmapped"),
        PlanOddity.UnmapByUniqueIova => ("unmap without a device, its IOVA live for one", "given to that device"),
        PlanOddity.UnmapAmbiguous => ("unmap without a device, its IOVA live for several", "given to the one whose mappings it covers best"),
        PlanOddity.IovaReuse => ("IOVA mapped again after an unmap", "mapped; the check shows no stale translation"),
        PlanOddity.DirectRegion => ("direct region mapped before the attach", "mapped for the device that is attached next"),
        PlanOddity.MixedLeafSizes => ("range that needs leaves of several sizes", "mapped in one call"),
        PlanOddity.NotPageAligned => ("map not of whole 4 KiB pages", "left out"),
        _ => ("map outside the IOVAs of the paging mode", "left out; a larger --mode has it"),
    };

    private struct DeviceSums
    {
        public long Maps;
        public long Unmaps;
        public long Direct;
        public long MappedBytes;
        public long EndBytes;
        public long EndRanges;
    }
}
