using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

/// <summary>Figures of the shipped recordings that an independent script of the recordings' author found too.</summary>
public sealed class GoldenFigures
{
    private const string X86 = "x86-lazy.ftrace.txt.xz";
    private const string RiscV = "riscv-strict.ftrace.txt.xz";
    private const string RiscVLog = "riscv-strict.dma.log.xz";
    private const string Disk = "0000:00:02.0";

    [Fact]
    public void X86_events_are_counted_as_recorded()
    {
        KernelTrace trace = Recordings.Trace(X86);

        trace.Input.Events.ShouldBe(132161);
        trace.Input.UnparsedLines.ShouldBe(0);
        trace.Input.LostMarkers.ShouldBe(0);
        trace.Input.BackwardSteps.ShouldBe(0);
        trace.Input.EventsByCpu.ShouldBe([49881, 82280]);
        Dictionary<string, long> expected = new(StringComparer.Ordinal)
        {
            ["map"] = 41964, ["unmap"] = 22422, ["iova_link"] = 21447, ["dma_map_phys"] = 20466, ["dma_unmap_phys"] = 19955,
            ["iova_destroy"] = 2445, ["qi_submit"] = 1685, ["cache_tag_flush_range"] = 1629, ["tracing_mark_write"] = 101,
            ["dma_alloc"] = 14, ["add_device_to_group"] = 11, ["cache_tag_assign"] = 11, ["attach_device_to_domain"] = 11,
        };
        trace.Input.EventsByName.OrderBy(e => e.Key, StringComparer.Ordinal)
            .ShouldBe(expected.OrderBy(e => e.Key, StringComparer.Ordinal));
        trace.DevicesInGroupEvents.ShouldBe(11);
        DeviceEvents(trace).ShouldBe("0000:00:02.0 31385, 0000:00:03.0 27093, 0000:00:04.0 5849");
    }

    [Fact]
    public void Riscv_events_are_counted_as_recorded()
    {
        KernelTrace trace = Recordings.Trace(RiscV);

        trace.Input.Events.ShouldBe(104438);
        trace.Input.UnparsedLines.ShouldBe(0);
        trace.Input.EventsByCpu.ShouldBe([40652, 63786]);
        trace.Input.EventsByName["map"].ShouldBe(39963);
        trace.Input.EventsByName["unmap"].ShouldBe(22910);
        trace.Input.EventsByName["dma_map_phys"].ShouldBe(21018);
        trace.Input.EventsByName["dma_unmap_phys"].ShouldBe(20443);
        trace.DevicesInGroupEvents.ShouldBe(7);
        DeviceEvents(trace).ShouldBe("0000:00:02.0 7485, 0000:00:03.0 27769, 0000:00:04.0 6221");
    }

    [Theory]
    [InlineData(AttributionRule.TightestFit)]
    [InlineData(AttributionRule.NewestOverlap)]
    internal void Maps_and_unmaps_find_their_devices_by_the_evidence_that_the_script_finds(AttributionRule rule)
    {
        KernelTrace x86 = Recordings.Trace(X86, rule);
        EvidenceOf(x86, unmaps: false).ShouldBe("DmaMapPhys 20466, DmaAlloc 50, IovaLink 21447, Attach 1");
        EvidenceOf(x86, unmaps: true).ShouldBe("None 22, DmaUnmapPhys 19955, IovaDestroy 2445");

        KernelTrace riscv = Recordings.Trace(RiscV, rule);
        EvidenceOf(riscv, unmaps: false).ShouldBe("None 18923, DmaMapPhys 21018, DmaAlloc 15, Attach 7");
        EvidenceOf(riscv, unmaps: true).ShouldBe("None 2467, DmaUnmapPhys 20443");
    }

    [Fact]
    public void X86_mappings_have_the_peaks_and_the_end_that_the_script_finds()
    {
        KernelTrace trace = Recordings.Trace(X86);
        MappingPlan plan = Planner.Make(trace);

        plan.EndAreas.ShouldBe(562);
        plan.PeakAreas.ShouldBe(689);
        plan.PeakBytes.ShouldBe(20529152ul);
        plan.RestChoice.ShouldBe(RestChoice.NotNeeded);
        plan.Oddities[PlanOddity.UnmapByUniqueIova].ShouldBe(22);
        OddCases(plan).ShouldBe(0);
        Peaks(plan).ShouldBe("0000:00:02.0 297, 0000:00:03.0 274, 0000:00:04.0 295, 0000:00:1f.0 1");
        Sizes(trace).ShouldBe(
            "4096:36244 8192:4709 131072:558 20480:107 12288:86 16384:65 24576:27 86016:25 90112:24 36864:22 40960:20 65536:19 "
            + "53248:19 73728:7");
        plan.Areas.Count(a => a.Length >= 1 << 21 && ((a.Physical | a.Start) & ((1 << 21) - 1)) == 0).ShouldBe(1);
    }

    [Theory]
    [InlineData(null)]
    [InlineData(Disk)]
    public void Riscv_mappings_have_the_peaks_that_the_script_finds_with_the_disk_given_or_inferred(string? rest)
    {
        KernelTrace trace = Recordings.Trace(RiscV);
        MappingPlan plan = Planner.Make(trace, new() { Rest = rest });

        plan.RestChoice.ShouldBe(rest is null ? RestChoice.Inferred : RestChoice.Given);
        trace.Devices.Name(plan.RestDevice).ShouldBe(Disk);
        plan.MapsWithoutEvidence.ShouldBe(18923);
        plan.UnmapsWithoutEvidence.ShouldBe(2467);
        plan.PeakAreas.ShouldBe(659);
        plan.PeakBytes.ShouldBe(3211264ul);
        Peaks(plan).ShouldBe(
            "0000:00:00.0 1, 0000:00:02.0 264, 0000:00:03.0 275, 0000:00:04.0 326, 0000:00:05.0 1, 0000:00:06.0 1, 0000:00:08.0 1");
        Sizes(trace).ShouldBe(
            "4096:33969 8192:4241 131072:418 12288:312 20480:238 32768:202 24576:99 16384:51 45056:44 40960:39 98304:34 106496:34 "
            + "36864:31 28672:27");
        plan.Areas.Any(a => a.Length >= 1 << 21).ShouldBeFalse();
    }

    [Fact]
    public void Riscv_has_the_scripts_odd_cases_by_the_plain_rule_and_none_by_the_tightest_fit()
    {
        KernelTrace plain = Recordings.Trace(RiscV, AttributionRule.NewestOverlap);
        MappingPlan asScript = Planner.Make(plain, new() { Rest = Disk });
        asScript.Oddities[PlanOddity.MapOverLive].ShouldBe(2);
        asScript.Oddities[PlanOddity.UnmapOfUnknown].ShouldBe(1);

        // The script counts the two maps that were mapped over as live for ever: 599.
        (asScript.EndAreas + asScript.Oddities[PlanOddity.MapOverLive]).ShouldBe(599);

        // All three come from one disk interrupt between a network card's unmap and its dma_unmap_phys, at the same IOVA.
        KernelTrace trace = Recordings.Trace(RiscV);
        trace.InterruptedPairs.ShouldBe(1);
        trace.FirstInterruptedPair.ShouldBe(86686);
        MappingPlan plan = Planner.Make(trace);
        OddCases(plan).ShouldBe(0);
        plan.EndAreas.ShouldBe(597);
    }

    [Fact]
    public void Riscv_log_is_counted_and_tied_to_the_trace_as_the_script_does()
    {
        DmaLog log = Recordings.Log(RiscVLog);
        log.Input.Events.ShouldBe(383224);
        log.Input.UnparsedLines.ShouldBe(0);
        log.Input.EventsByName["riscv_iommu_cmd"].ShouldBe(90790);
        log.Input.EventsByName["pci_cfg_write"].ShouldBe(280);
        log.Accesses.Length.ShouldBe(292147);
        log.Invalidations.Length.ShouldBe(90790);
        log.Accesses.Count(a => a.Access == Ioasis.Primitives.Access.Read).ShouldBe(139955);
        log.Accesses.Select(a => (a.Device, a.Iova >> 12)).Distinct().Count().ShouldBe(1854);

        ClockTie alignment = ClockTie.Align(Recordings.Trace(RiscV), log);
        alignment.Marks.ShouldBe(76);
        alignment.ClockRatio.ShouldBe(1.000172, 5e-7);
        (alignment.DriftSeconds * 1e3).ShouldBe(-5.5, 0.05);
        (alignment.MedianDelaySeconds * 1e3).ShouldBe(0.140, 5e-4);
        (alignment.MaxDelaySeconds * 1e3).ShouldBe(19.3, 0.05);
    }

    [Fact]
    public void Every_access_of_the_riscv_log_is_explained_by_a_mapping()
    {
        KernelTrace trace = Recordings.Trace(RiscV);
        DmaLog log = Recordings.Log(RiscVLog);
        DmaSchedule schedule = DmaSchedule.Make(Planner.Make(trace), log, ClockTie.Align(trace, log), 1e-3);

        // The script: 02.0 81053/24459 (it leaves two maps of the disk live that were mapped over, which counts 280 accesses
        // as live that came shortly before a map), 03.0 60569/3599 and two further than 10 ms, 04.0 120015/1039, 08.0 1411.
        Classes(schedule, trace).ShouldBe(
            "0000:00:02.0 Live 80773, 0000:00:02.0 WithinTolerance 24739, 0000:00:03.0 Live 60571, 0000:00:03.0 WithinTolerance 3599, "
            + "0000:00:04.0 Live 120015, 0000:00:04.0 WithinTolerance 1039, 0000:00:08.0 Live 1411");
        schedule.Residuals.Max().ShouldBeLessThan(0.0005);
        schedule.Refined.ShouldBe(0);
    }

    [Fact]
    public void The_two_accesses_that_the_script_cannot_explain_are_explained_by_the_tightest_fit()
    {
        KernelTrace trace = Recordings.Trace(RiscV, AttributionRule.NewestOverlap);
        DmaLog log = Recordings.Log(RiscVLog);
        MappingPlan plan = Planner.Make(trace, new() { Rest = Disk });
        DmaSchedule schedule = DmaSchedule.Make(plan, log, ClockTie.Align(trace, log), 1e-3);

        ScheduledDma[] unexplained = [.. schedule.Accesses.Where(a => a.Class == DmaClass.Unexplained)];
        unexplained.Length.ShouldBe(2);
        log.Accesses.Read()[unexplained[0].Access].Iova.ShouldBe(0xffe7ed42ul);
        Classes(schedule, trace).ShouldContain("0000:00:03.0 Live 60569, 0000:00:03.0 WithinTolerance 3599");
    }

    [Fact]
    public void Clocks_that_stay_apart_by_more_than_the_tolerance_are_tied_by_the_accesses_themselves()
    {
        KernelTrace trace = Recordings.Trace(RiscV);
        DmaLog log = Recordings.Changed(Recordings.Log(RiscVLog), static (_, access) => access with { TimeNs = access.TimeNs - 2_000_000 });

        DmaSchedule schedule = DmaSchedule.Make(Planner.Make(trace), log, ClockTie.Align(trace, log), 1e-3);

        schedule.Refined.ShouldBeGreaterThan(1000);
        schedule.Accesses.Count(a => a.Class == DmaClass.Unexplained).ShouldBeLessThan(schedule.Accesses.Length / 1000);
    }

    private static long OddCases(MappingPlan plan) =>
        plan.Oddities[PlanOddity.MapOverLive] + plan.Oddities[PlanOddity.PartialUnmap] + plan.Oddities[PlanOddity.UnmapWithHoles]
        + plan.Oddities[PlanOddity.UnmapOfUnknown] + plan.Oddities[PlanOddity.UnmappedSizeDiffers]
        + plan.Oddities[PlanOddity.UnmapAmbiguous];

    private static string DeviceEvents(KernelTrace trace) => string.Join(
        ", ",
        trace.DmaEventsByDevice.Select(e => $"{trace.Devices.Name(e.Key)} {e.Value}").Order(StringComparer.Ordinal));

    private static string EvidenceOf(KernelTrace trace, bool unmaps) => string.Join(
        ", ",
        trace.Mappings.Where(m => m.IsUnmap == unmaps).GroupBy(m => m.Evidence).OrderBy(g => g.Key).Select(g => $"{g.Key} {g.Count()}"));

    private static string Peaks(MappingPlan plan) => string.Join(
        ", ",
        Enumerable.Range(0, plan.Devices.Count).Where(d => plan.Devices[d].PeakAreas > 0)
            .Select(d => $"{plan.Trace.Devices.Name(d)} {plan.Devices[d].PeakAreas}").Order(StringComparer.Ordinal));

    private static string Sizes(KernelTrace trace) => string.Join(
        ' ',
        trace.Mappings.Where(m => !m.IsUnmap).GroupBy(m => m.Length).Select(g => (Size: g.Key, Count: g.Count(), First: g.First().Line))
            .OrderByDescending(s => s.Count).ThenBy(s => s.First).Take(14).Select(s => $"{s.Size}:{s.Count}"));

    private static string Classes(DmaSchedule schedule, KernelTrace trace) => string.Join(
        ", ",
        schedule.Accesses.GroupBy(a => (Name: trace.Devices.Name(a.Device), a.Class)).OrderBy(g => g.Key.Name, StringComparer.Ordinal)
            .ThenBy(g => g.Key.Class).Select(g => $"{g.Key.Name} {g.Key.Class} {g.Count()}"));
}
