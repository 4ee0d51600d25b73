using System.Globalization;
using System.Text;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

/// <summary>What each odd case of a recording means, in tiny made-up traces.</summary>
public sealed class PlanTests
{
    private const string A = "0000:00:02.0";
    private const string B = "0000:00:03.0";

    [Fact]
    public void One_unmap_ends_all_maps_that_it_covers()
    {
        MappingPlan plan = Make(t => t.Map(A, 0x1000, 0x1000, 0x50000).Map(A, 0x2000, 0x2000, 0x90000).Unmap(A, 0x1000, 0x3000));

        plan.Oddities[PlanOddity.UnmapOfManyMaps].ShouldBe(1);
        Steps(plan).ShouldBe("+1000+1000@50000 +2000+2000@90000 -1000+3000(2)");
        plan.EndAreas.ShouldBe(0);
    }

    [Fact]
    public void A_partial_unmap_ends_the_whole_area_and_maps_the_remainders_again()
    {
        MappingPlan plan = Make(t => t.Map(A, 0x10000, 0x8000, 0x50000).Unmap(A, 0x12000, 0x2000));

        plan.Oddities[PlanOddity.PartialUnmap].ShouldBe(1);
        Steps(plan).ShouldBe("+10000+8000@50000 -10000+8000(1) +10000+2000@50000 +14000+4000@54000");
        plan.Steps[1].CheckStart.ShouldBe(0x12000ul);
        plan.Steps[1].CheckLength.ShouldBe(0x2000ul);
        plan.EndBytes.ShouldBe(0x6000ul);
    }

    [Fact]
    public void A_map_over_a_live_one_replaces_it_and_keeps_what_stands_out()
    {
        MappingPlan plan = Make(t => t.Map(A, 0x10000, 0x3000, 0x50000).Map(A, 0x11000, 0x1000, 0x90000));

        plan.Oddities[PlanOddity.MapOverLive].ShouldBe(1);
        Steps(plan).ShouldBe("+10000+3000@50000 -10000+3000(1) +10000+1000@50000 +12000+1000@52000 +11000+1000@90000");
        plan.Steps[1].CheckLength.ShouldBe(0ul);
        plan.EndAreas.ShouldBe(3);
    }

    [Fact]
    public void An_unmap_with_holes_ends_what_is_there()
    {
        MappingPlan plan = Make(t => t.Map(A, 0x1000, 0x1000, 0x50000).Map(A, 0x4000, 0x1000, 0x60000).Unmap(A, 0x0, 0x8000));

        plan.Oddities[PlanOddity.UnmapWithHoles].ShouldBe(1);
        Steps(plan).ShouldBe("+1000+1000@50000 +4000+1000@60000 -1000+4000(2)");
    }

    [Fact]
    public void An_unmap_of_what_was_never_mapped_changes_nothing_and_is_counted_with_its_line()
    {
        MappingPlan plan = Make(t => t.Unmap(A, 0x1000, 0x1000).Map(A, 0x1000, 0x1000, 0x50000));

        plan.Oddities[PlanOddity.UnmapOfUnknown].ShouldBe(1);
        plan.Oddities.FirstLine(PlanOddity.UnmapOfUnknown).ShouldBe(1);
        plan.EndAreas.ShouldBe(1);
    }

    [Fact]
    public void The_same_iova_is_live_for_two_devices_and_each_unmap_ends_its_own()
    {
        MappingPlan plan = Make(t => t.Map(A, 0x1000, 0x1000, 0x50000).Map(B, 0x1000, 0x1000, 0x60000).Unmap(A, 0x1000, 0x1000));

        plan.Trace.Devices.Name(plan.Areas[0].Device).ShouldBe(A);
        plan.Areas[0].EndEvent.ShouldBe(2);
        plan.Areas[1].EndEvent.ShouldBe(-1);
    }

    [Fact]
    public void An_unmap_without_a_device_goes_to_the_one_that_has_the_iova()
    {
        MappingPlan unique = Make(t => t.Map(A, 0x1000, 0x1000, 0x50000).Map(B, 0x2000, 0x1000, 0x60000).Unmap(null, 0x2000, 0x1000));
        unique.Oddities[PlanOddity.UnmapByUniqueIova].ShouldBe(1);
        unique.Areas[1].EndEvent.ShouldBe(2);

        MappingPlan several = Make(t => t.Map(A, 0x1000, 0x1000, 0x50000).Map(B, 0x1000, 0x2000, 0x60000).Unmap(null, 0x1000, 0x2000));
        several.Oddities[PlanOddity.UnmapAmbiguous].ShouldBe(1);
        several.Areas[1].EndEvent.ShouldBe(2);
        several.Areas[0].EndEvent.ShouldBe(-1);
    }

    [Fact]
    public void Iova_reuse_and_direct_regions_are_counted()
    {
        MappingPlan plan = Make(t => t.RawMap(0x28000000, 0x4000, 0x28000000, "init-1").Attach(A, "init-1").Map(A, 0x1000, 0x1000, 0x50000)
            .Unmap(A, 0x1000, 0x1000).Map(A, 0x1000, 0x1000, 0x70000));

        plan.Oddities[PlanOddity.DirectRegion].ShouldBe(1);
        plan.Oddities[PlanOddity.IovaReuse].ShouldBe(1);
        plan.Areas[0].Flags.ShouldBe(AreaFlags.Direct);
        plan.Trace.Devices.Name(plan.Areas[0].Device).ShouldBe(A);
    }

    [Fact]
    public void Ranges_that_straddle_leaf_sizes_are_counted()
    {
        MappingPlan plan = Make(t => t.Map(A, 0x200000, 0x201000, 0x40000000).Map(A, 0x600000, 0x200000, 0x40400000)
            .Map(A, 0x800000, 0x200000, 0x40601000));

        plan.Oddities[PlanOddity.MixedLeafSizes].ShouldBe(1);
        plan.Oddities.FirstLine(PlanOddity.MixedLeafSizes).ShouldBe(1);
    }

    [Fact]
    public void What_cannot_be_mapped_is_counted_and_left_out()
    {
        MappingPlan plan = Make(
            t => t.Map(A, 0x1000, 0x800, 0x50000).Map(A, 0x1_0000_0000_0000, 0x1000, 0x50000).Map(A, 0x2000, 0x1000, 0x50000),
            new() { LastIova = (1ul << 38) - 1 });

        plan.Oddities[PlanOddity.NotPageAligned].ShouldBe(1);
        plan.Oddities[PlanOddity.OutsideMode].ShouldBe(1);
        Steps(plan).ShouldBe("+2000+1000@50000");
    }

    [Fact]
    public void Two_cpus_may_work_for_one_task_and_idle_tasks_are_told_apart_by_cpu()
    {
        StringBuilder text = new();
        text.Append(Trace.MapLine("dd-7", 0, 0.1, 0x1000, 0x1000, 0x50000));
        text.Append(Trace.MapLine("nc-8", 1, 0.2, 0x1000, 0x1000, 0x60000));
        text.Append(Trace.MapLine("<idle>-0", 0, 0.3, 0x5000, 0x1000, 0x70000));
        text.Append(Trace.MapLine("<idle>-0", 1, 0.4, 0x5000, 0x1000, 0x80000));
        text.Append(Trace.DmaLine("nc-8", 0, 0.5, "dma_map_phys", B, 0x1000, 0x1000));
        text.Append(Trace.DmaLine("dd-7", 1, 0.6, "dma_map_phys", A, 0x1000, 0x1000));
        text.Append(Trace.DmaLine("<idle>-0", 0, 0.7, "dma_map_phys", A, 0x5000, 0x1000));
        text.Append(Trace.DmaLine("<idle>-0", 1, 0.8, "dma_map_phys", B, 0x5000, 0x1000));
        KernelTrace trace = Recordings.Parse(text.ToString()).Trace!;

        trace.Mappings.Select(m => trace.Devices.Name(m.Device)).ShouldBe([A, B, A, B]);
    }

    [Theory]
    [InlineData(AttributionRule.TightestFit, A)]
    [InlineData(AttributionRule.NewestOverlap, "")]
    internal void An_interrupt_between_an_unmap_and_its_dma_event_does_not_take_its_device(AttributionRule rule, string device)
    {
        string text = Trace.UnmapLine("nc-8", 1, 0.1, 0x1000, 0x2000) + Trace.UnmapLine("nc-8", 1, 0.2, 0x1000, 0x4000)
            + Trace.DmaLine("nc-8", 1, 0.3, "dma_unmap_phys", A, 0x1e42, 1522);
        KernelTrace trace = Recordings.Parse(text, new() { Attribution = rule }).Trace!;

        (trace.Mappings[0].Device < 0 ? "" : trace.Devices.Name(trace.Mappings[0].Device)).ShouldBe(device);
        trace.InterruptedPairs.ShouldBe(rule == AttributionRule.TightestFit ? 1 : 0);
    }

    [Fact]
    public void What_nothing_names_goes_to_the_one_device_that_it_never_overlaps()
    {
        MappingPlan inferred = Make(t => t.Map(A, 0x1000, 0x1000, 0x50000).Map(B, 0x2000, 0x1000, 0x60000).Map(null, 0x2000, 0x1000, 0x70000));
        inferred.RestChoice.ShouldBe(RestChoice.Inferred);
        inferred.Trace.Devices.Name(inferred.RestDevice).ShouldBe(A);

        MappingPlan open = Make(t => t.Map(A, 0x1000, 0x1000, 0x50000).Map(B, 0x2000, 0x1000, 0x60000).Map(null, 0x3000, 0x1000, 0x70000));
        open.RestChoice.ShouldBe(RestChoice.Synthetic);
        open.Trace.Devices.Name(open.RestDevice).ShouldBe(DeviceTable.UnattributedName);
    }

    [Fact]
    public void Scatter_lists_claim_every_map_that_they_overlap()
    {
        string text = Trace.MapLine("dd-7", 0, 0.1, 0x1000, 0x1000, 0x50000) + Trace.MapLine("dd-7", 0, 0.2, 0x4000, 0x2000, 0x60000)
            + "            dd-7       [000] .....     0.300000: dma_map_sg: " + A
            + " dir=TO_DEVICE nents=2/2 ents=2/2 dma_addrs={0x1000,0x4000} sizes={0x1000,0x2000} phys_addrs={0x50000,0x60000} attrs=\n"
            + "            dd-7       [000] .....     0.400000: dma_unmap_sg: " + A + " dir=TO_DEVICE phys_addrs={0x50000} attrs=\n"
            + Trace.UnmapLine("dd-7", 0, 0.5, 0x1000, 0x1000);
        KernelTrace trace = Recordings.Parse(text).Trace!;

        trace.Mappings.Select(m => m.Evidence).ShouldBe([Evidence.DmaMapSg, Evidence.DmaMapSg, Evidence.DmaUnmapSg]);
        trace.Input.UnparsedLines.ShouldBe(0);
    }

    private static MappingPlan Make(Func<Trace, Trace> build, PlanOptions? options = null) =>
        Planner.Make(Recordings.Parse(build(new()).ToString()).Trace!, options);

    private static string Steps(MappingPlan plan) => string.Join(' ', plan.Steps.Select(s => s.Kind == StepKind.Map
        ? string.Create(CultureInfo.InvariantCulture, $"+{s.Start:x}+{s.Length:x}@{plan.Areas[s.Area].Physical:x}")
        : string.Create(CultureInfo.InvariantCulture, $"-{s.Start:x}+{s.Length:x}({s.AreaCount})")));
}
