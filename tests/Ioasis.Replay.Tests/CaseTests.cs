using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Tests;

/// <summary>One small input for each kind of recording that was once misread, with the figures that a reader works out by hand.</summary>
public sealed class CaseTests
{
    private const string Disk = "0000:00:17.0";
    private const string Card = "0000:04:00.0";

    [Fact]
    public void An_unmap_belongs_to_the_free_before_it()
    {
        ReplayReport report = Run("dma-free-before-unmap.ftrace.txt");

        Devices(report).ShouldBe($"{Disk} +1 -1 end 0 peak 524288, {Card} +1 -1 end 0 peak 4096");
        Evidence(report.Attribution.Maps).ShouldBe("dma_alloc 2");
        Evidence(report.Attribution.Unmaps).ShouldBe("dma_free 2");
        report.Mappings.NeverUnmapped.ShouldBe(0);
        report.Mappings.Lifetimes!.Count.ShouldBe(2);
        report.Mappings.Lifetimes.MaxSeconds.ShouldBe(50e-6, 1e-9);
    }

    [Fact]
    public void A_noncontiguous_allocation_owns_its_map()
    {
        ReplayReport report = Run("dma-alloc-sgt.ftrace.txt");

        Devices(report).ShouldBe($"{Disk} +1 -0 end 8192 peak 8192, {Card} +1 -0 end 8192 peak 8192");
        Evidence(report.Attribution.Maps).ShouldBe("dma_alloc_sgt 2");
        report.Oddities.ShouldNotContain(o => o.Name.Contains("over", StringComparison.Ordinal));
    }

    [Fact]
    public void A_list_that_was_cut_owns_the_maps_that_follow_what_was_traced()
    {
        ReplayReport report = Run("dma-map-sg-truncated.ftrace.txt");

        Devices(report).ShouldBe($"{Disk} +130 -0 end 532480 peak 532480, {Card} +130 -0 end 532480 peak 532480");
        Evidence(report.Attribution.Maps).ShouldBe("dma_map_sg 260");
        KernelTrace trace = RecordingReader.Read(Recordings.Case("dma-map-sg-truncated.ftrace.txt"), null, TestContext.Current.CancellationToken).Trace!;
        (trace.CutLists, trace.CutEntries, trace.CutEntriesFound).ShouldBe((2, 4, 4));
    }

    [Theory]
    [InlineData("latency-format.ftrace.txt")]
    [InlineData("map-without-range.ftrace.txt")]
    [InlineData("perf-without-cpu.txt")]
    public void A_map_and_its_unmap_are_read_in_every_layout(string name)
    {
        ReplayReport report = Run(name);

        report.Devices.ShouldHaveSingleItem();
        (report.Devices[0].Maps, report.Devices[0].Unmaps, report.Devices[0].EndLiveBytes, report.Devices[0].PeakLiveBytes).ShouldBe((1, 1, 0, 4096));
        report.Inputs[0].FirstSeconds.ShouldBe(5.00001, 1e-9);
        report.Inputs[0].LastSeconds.ShouldBe(5.00002, 1e-9);
    }

    [Fact]
    public void A_note_is_one_whatever_the_compiler_hung_on_its_name()
    {
        KernelTrace trace = RecordingReader.Read(Recordings.Case("lto-mark.ftrace.txt"), null, TestContext.Current.CancellationToken).Trace!;

        trace.Marks[3].Text.ShouldBe("begin");
        trace.Input.EventsByName["tracing_mark_write"].ShouldBe(1);
        trace.Mappings.ShouldHaveSingleItem();
    }

    [Fact]
    public void A_log_with_process_and_seconds_in_front_is_read()
    {
        ReplayReport report = Run("qemu-pid-prefix.dma.log");

        report.DmaLog!.Dmas.ShouldBe(2);
        report.Devices.ShouldHaveSingleItem().Name.ShouldBe(Card);
        report.Inputs[0].FirstSeconds.ShouldBe(1700000000.00001, 1e-6);
        report.Checks.ByKind.Single(k => k.Name == "logged fault faults").Count.ShouldBe(1);
        report.Checks.ByKind.Single(k => k.Name == "logged DMA reaches its page").Count.ShouldBe(1);
    }

    private static ReplayReport Run(string name)
    {
        ReplayReport report = TraceReplayer.Run(
            Recordings.Case(name), null, new() { Check = CheckLevel.All }, cancellationToken: TestContext.Current.CancellationToken);
        report.Checks.MismatchCount.ShouldBe(0);
        report.Checks.CheckCount.ShouldBeGreaterThan(0);
        report.Inputs[0].UnparsedLines.ShouldBe(0);
        return report;
    }

    private static string Devices(ReplayReport report) => string.Join(
        ", ", report.Devices.Select(d => $"{d.Name} +{d.Maps} -{d.Unmaps} end {d.EndLiveBytes} peak {d.PeakLiveBytes}"));

    private static string Evidence(IEnumerable<NamedCount> counts) => string.Join(", ", counts.Select(c => $"{c.Name} {c.Count}"));
}
