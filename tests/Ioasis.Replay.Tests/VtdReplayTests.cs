using Ioasis.Embedded;
using Ioasis.PageTables;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Tests;

/// <summary>Recordings through the whole stack with VT-d: any machine's, for what they map is any IOMMU's.</summary>
public sealed class VtdReplayTests
{
    private static readonly int[] s_pageFaults = [0x71, 0x79];

    [Theory]
    [InlineData("x86-lazy.ftrace.txt.xz", "VtdStage2Level4", false, false, CheckLevel.Sampled)]
    [InlineData("x86-lazy.ftrace.txt.xz", "X64Level4", true, true, CheckLevel.Sampled)]
    [InlineData("x86-disk.ftrace.txt", "VtdStage2Level3", true, false, CheckLevel.All)]
    [InlineData("x86-disk.ftrace.txt", "VtdStage2Level5", true, false, CheckLevel.All)]
    [InlineData("x86-disk.ftrace.txt", "X64Level5", true, false, CheckLevel.All)]
    [InlineData("riscv-middle.ftrace.txt.gz", "VtdStage2Level4", true, false, CheckLevel.All)]
    public void A_recording_ends_without_a_mismatch(string name, string tables, bool hostile, bool lazy, CheckLevel check)
    {
        ReplayReport report = Run(name, null, tables, new() { Hostile = hostile, LazyInvalidation = lazy, Check = check });
        report.Hardware.Faults.Select(static f => f.Cause).ShouldBe([tables[0] == 'X' ? s_pageFaults[0] : s_pageFaults[1]]);
        report.Hardware.Faults.ShouldAllBe(static f => f.Count == f.Expected && f.Count > 0);
        report.Hardware.Commands.Select(static c => c.Kind).ShouldContain(tables[0] == 'X' ? "p_iotlb_inv_dsc" : "iotlb_inv_dsc");
    }

    [Theory]
    [InlineData("x86-faults")]
    [InlineData("x86-amd-faults")]
    [InlineData("riscv-faults")]
    public void Every_recorded_fault_faults_again_and_is_reported(string name)
    {
        ReplayReport report = Run(name + ".ftrace.txt.gz", name + ".dma.log.gz", "VtdStage2Level4", new() { Hostile = true });
        report.DmaLog!.Classes.Single(static c => c.Name == "faulted in the recording").Count.ShouldBeGreaterThan(0);
    }

    [Theory]
    [InlineData("x86-faults", "vtd")]
    [InlineData("x86-amd-faults", "vtd")]
    [InlineData("riscv-faults", "riscv")]
    public void A_device_side_log_tells_the_architecture_by_itself_and_beside_a_trace_that_does_not(string name, string iommu)
    {
        string log = Recordings.PathOf(name + ".dma.log.gz");
        TraceReplayer.Run(log, cancellationToken: TestContext.Current.CancellationToken).Options.Iommu.ShouldBe(iommu);
        ReplayReport both = TraceReplayer.Run(
            Recordings.PathOf(name + ".ftrace.txt.gz"), log, cancellationToken: TestContext.Current.CancellationToken);
        (both.Options.Iommu, both.Passed).ShouldBe((iommu, true));
    }

    private static ReplayReport Run(string name, string? log, string tables, ReplayOptions options)
    {
        PageTableFormat.TryFind(tables, out PageTableFormat? format).ShouldBeTrue();
        ReplayReport report = TraceReplayer.Run(
            Recordings.PathOf(name), log is null ? null : Recordings.PathOf(log), options with { Iommu = new VtdIommuSlot(), Tables = format! });
        report.Checks.MismatchCount.ShouldBe(0, string.Join('\n', report.Checks.FirstMismatches.Take(5)));
        report.Passed.ShouldBeTrue();
        return report;
    }
}
