using System.Globalization;
using System.Numerics;
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
        List<DeviceReport> result = [];
        for (int device = 0; device < stack.Devices; device++)
        {
            ReplayEngine.DeviceState replayed = engine.Of(device);
            long logged = replayed.Classes.Sum();
            DeviceSums sum = _statistics.Of(device);
            DeviceSummary mapped = _plan.Devices[device];
            if (sum.Maps == 0 && sum.Unmaps == 0 && logged == 0)
            {
                continue;
            }

            DeviceCounts s = _hardware.Device(engine.Of(device).Id);
            result.Add(new()
            {
                Name = _table.Name(device),
                DeviceId = _table.Id(device),
                Maps = sum.Maps,
                Unmaps = sum.Unmaps,
                DirectRegions = sum.Direct,
                MappedBytes = sum.MappedBytes,
                PeakLiveBytes = (long)mapped.PeakBytes,
                PeakLiveRanges = mapped.PeakAreas,
                EndLiveBytes = mapped.AtEnd.LiveBytes,
                EndLiveRanges = plan.Live.Count(area => area.Device == device),
                PeakFragmentation = FragmentationOf(mapped.AtPeak),
                EndFragmentation = FragmentationOf(mapped.AtEnd),
                PageTables = new(replayed.PeakTableBytes, stack.TableBytes(device)),
                Translation = new()
                {
                    Translations = replayed.Translations,
                    IotlbHits = s.Hits,
                    IotlbMisses = s.Misses,
                    IotlbEvictions = s.Evictions,
                    Walks = s.Misses,
                    WalkMemoryReads = s.WalkReads,
                    Faults = replayed.Faults,
                },
                LoggedDmas = logged,
            });
        }

        return [.. result.OrderBy(d => d.Name, StringComparer.Ordinal)];
    }

    /// <summary>How scattered a space is.</summary>
    public static FragmentationReport FragmentationOf(in Fragmentation f) => new()
    {
        Extents = f.Extents,
        LiveBytes = f.LiveBytes,
        SpanBytes = f.SpanBytes,
        LargestGapBytes = f.LargestGapBytes,
    };

    private MappingReport Mappings()
    {
        List<NeverUnmappedRange> listed = [];
        foreach (ref readonly LiveArea area in plan.Live.AsSpan(0, Math.Min(plan.Live.Length, MappingReport.ListedRanges)))
        {
            listed.Add(new()
            {
                Device = _table.Name(area.Device),
                Iova = new(area.Start),
                LengthBytes = (long)area.Length,
                PhysicalAddress = new(area.Physical),
                Line = area.Line,
                MappedAtSeconds = area.MapTimeNs / 1e9,
            });
        }

        return new()
        {
            Maps = _statistics.Maps,
            Unmaps = _statistics.Unmaps,
            MappedBytes = _statistics.MappedBytes,
            UnmappedBytes = _statistics.UnmappedBytes,
            BySize =
            [
                .. _statistics.Sizes.OrderBy(static s => s.Size).Select(static s => new RangeSizeCount((long)s.Size, s.Maps, s.Unmaps))
                    .OrderByDescending(s => s.Maps + s.Unmaps),
            ],
            Leaves = Leaves(),
            PeakLiveBytes = (long)_plan.PeakBytes,
            PeakLiveBytesAtSeconds = _plan.PeakBytesTimeNs / 1e9,
            PeakLiveRanges = _plan.PeakAreas,
            EndLiveBytes = (long)_plan.EndBytes,
            EndLiveRanges = _plan.EndAreas,
            Lifetimes = _statistics.Lifetimes.ToReport(),
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
        long[] live = new long[64];
        foreach (LiveArea area in plan.Live)
        {
            PagingDomain domain = stack.DomainOf(area.Device);
            for (ulong at = area.Start; at - area.Start < area.Length;)
            {
                if (!domain.TryTranslate(new(at), out _, out _, out ulong size) || size == 0)
                {
                    break;
                }

                live[BitOperations.Log2(size)]++;
                at = (at & ~(size - 1)) + size;
            }
        }

        List<LeafSizeCount> result = [];
        for (int log2 = 0; log2 < live.Length; log2++)
        {
            if (_statistics.Leaves[log2] > 0 || live[log2] > 0)
            {
                result.Add(new(1L << log2, _statistics.Leaves[log2], live[log2]));
            }
        }

        return [.. result];
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
                FirstLine = _statistics.FirstLineWithoutDevice,
            });
        }

        if (_trace.CutLists > 0)
        {
            result.Add(new()
            {
                Name = "scatter lists of which the kernel traced only the first entries",
                Count = _trace.CutLists,
                Outcome = string.Create(
                    CultureInfo.InvariantCulture,
                    $"of {_trace.CutEntries} entries left out, the maps of {_trace.CutEntriesFound} were found right behind the others"),
            });
        }

        if (_trace.FailedDmaEvents > 0)
        {
            result.Add(new()
            {
                Name = "DMA events of mappings that failed",
                Count = _trace.FailedDmaEvents,
                Outcome = "nothing was mapped for them",
            });
        }

        if (_trace.Input.UnknownEvents.Count > 0)
        {
            result.Add(new()
            {
                Name = "events that name a device and an address and are not known here",
                Count = _trace.Input.UnknownEvents.Values.Sum(),
                Outcome = "not replayed: " + string.Join(", ", _trace.Input.UnknownEvents.Keys.Order(StringComparer.Ordinal).Take(5)),
            });
        }

        if (_trace.Input.CutEvents > 0)
        {
            result.Add(new()
            {
                Name = "events whose text did not fit the recorder's line",
                Count = _trace.Input.CutEvents,
                Outcome = "what they say is lost",
                FirstLine = _trace.Input.FirstCutEvents[0].Line,
            });
        }

        if (replay.Refined > 0)
        {
            result.Add(new()
            {
                Name = "logged DMAs where the clocks are further apart than the tolerance",
                Count = replay.Refined,
                Outcome = "tied by the DMAs around them, or by how late the log's lines are there: none can come before its map; they count as within the tolerance",
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
        RestChoice.Given => $"given to {_table.Name(_plan.RestDevice)}, as asked",
        RestChoice.Inferred => $"given to {_table.Name(_plan.RestDevice)}: the one device with DMA events that never overlaps them",
        RestChoice.DmaLog => $"given to the devices that use them in the DMA log, the others to {_table.Name(_plan.RestDevice)}",
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
}
