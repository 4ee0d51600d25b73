using System.Globalization;
using System.Text.RegularExpressions;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;
using Ioasis.Testing;

namespace Ioasis.Replay.Tests;

/// <summary>Recordings through the whole stack.</summary>
public sealed class ReplayTests
{
    private const string X86 = "x86-lazy.ftrace.txt.xz";
    private const string RiscV = "riscv-strict.ftrace.txt.xz";
    private const string RiscVLog = "riscv-strict.dma.log.xz";

    [Theory]
    [Trait("Requirement", "S3.4")]
    [InlineData(X86, "Sv57", false, false, CheckLevel.Sampled)]
    [InlineData(X86, "Sv39", true, false, CheckLevel.All)]
    [InlineData(X86, "Sv57", true, true, CheckLevel.Sampled)]
    [InlineData(RiscV, "Sv39", false, true, CheckLevel.Sampled)]
    [InlineData(RiscV, "Sv48", true, false, CheckLevel.Sampled)]
    [InlineData(RiscV, "Sv57", true, false, CheckLevel.All)]
    public void A_whole_recording_ends_without_a_mismatch(string name, string tables, bool hostile, bool lazy, CheckLevel check)
    {
        ReplayReport report = Run(name, null, new() { Tables = FormatOf(tables), Hostile = hostile, LazyInvalidation = lazy, Check = check });

        report.Checks.MismatchCount.ShouldBe(0, Describe(report));
        report.Passed.ShouldBeTrue();
        KernelTrace trace = Recordings.Trace(name);
        Check(report, "map is taken").ShouldBe(trace.Input.EventsByName["map"]);
        Check(report, "unmap gives back what was mapped").ShouldBe(trace.Input.EventsByName["unmap"]);

        // Strict recordings use an IOVA again at once: a lazy replay then flushes before the map, and no unmap is left to check.
        Check(report, "faults after unmap").ShouldBeGreaterThan(lazy ? 5_000 : trace.Input.EventsByName["unmap"] - 1);
        Check(report, "fault is reported with its cause").ShouldBe(Check(report, "faults after unmap"));
        report.Hardware.Faults.Select(f => f.Cause).ShouldBe([13, 15]);
        report.Hardware.Faults.ShouldAllBe(f => f.Count == f.Expected);
    }

    [Theory]
    [InlineData(false, "Sv57")]
    [InlineData(true, "Sv39")]
    public void Every_logged_dma_of_the_riscv_run_reaches_its_page(bool hostile, string tables)
    {
        ReplayReport report = Run(RiscV, RiscVLog, new() { Hostile = hostile, Tables = FormatOf(tables), RecordSeries = false });

        report.Checks.MismatchCount.ShouldBe(0, Describe(report));
        Check(report, "logged DMA reaches its page").ShouldBe(292147);
        report.DmaLog!.Classes.ShouldBe([new("live", 262770), new("within the alignment tolerance", 29377)]);
        report.DmaLog.Alignment!.Residual!.MaxSeconds.ShouldBeLessThan(0.0005);
        report.DmaLog.LearnedMappings.ShouldBeFalse();
        report.Attribution.Ways.Single(w => w.Name == "DMA log").Maps.ShouldBe(17987);
        report.Devices.Single(d => d.Name == "0000:00:02.0").Maps.ShouldBe(22671);
        report.RecordedInvalidations.ByKind.Sum(k => k.Count).ShouldBe(90790);
    }

    [Theory]
    [InlineData("riscv-faults", 2080)]
    [InlineData("x86-faults", 1964)]
    [InlineData("x86-amd-faults", 2063)]
    public void Every_recorded_fault_faults_again_and_is_reported(string name, long dmas)
    {
        ReplayReport report = Run(name + ".ftrace.txt.gz", name + ".dma.log.gz", new() { Hostile = true });

        report.Checks.MismatchCount.ShouldBe(0, Describe(report));
        Check(report, "logged fault faults").ShouldBe(64);
        Check(report, "logged DMA reaches its page").ShouldBe(dmas);
        report.DmaLog!.Classes.ShouldContain(new NamedCount("faulted in the recording", 64));
    }

    [Fact]
    public void A_piece_from_the_middle_of_a_run_learns_what_was_mapped_before_it_began()
    {
        ReplayReport report = Run("riscv-middle.ftrace.txt.gz", "riscv-middle.dma.log.gz", new());

        report.Checks.MismatchCount.ShouldBe(0, Describe(report));
        Check(report, "logged DMA reaches its page").ShouldBe(14472);
        report.DmaLog!.Classes.ShouldContain(c => c.Name == "mapped before the recording began" && c.Count > 10_000);
        Oddity(report, "unmap of what was never mapped").ShouldBeGreaterThan(0);
    }

    [Theory]
    [InlineData(RiscVLog, 292147)]
    [InlineData("x86-amd-faults.dma.log.gz", 2063)]
    public void A_log_alone_replays_with_mappings_learned_from_it_and_says_so(string name, long dmas)
    {
        ReplayReport report = Run(name, null, new() { RecordSeries = false });

        report.Checks.MismatchCount.ShouldBe(0, Describe(report));
        report.DmaLog!.LearnedMappings.ShouldBeTrue();
        report.DmaLog.Classes.ShouldContain(new NamedCount("learned", dmas));
        report.Attribution.Maps.ShouldHaveSingleItem().Name.ShouldBe("DMA log");
    }

    [Fact]
    public void A_larger_iotlb_hits_more_often_in_a_learned_log()
    {
        ReplayOptions options = new() { Check = CheckLevel.None, RecordSeries = false };
        double Ratio(int entries, int ways) =>
            Run(RiscVLog, null, options with { IotlbEntries = entries, IotlbWays = ways }).Hardware.Total.HitRatio;

        double small = Ratio(8, 2);
        double large = Ratio(1024, 8);
        small.ShouldBeLessThan(large - 0.05);
        large.ShouldBeGreaterThan(0.5);
    }

    [Fact]
    public void Lazy_invalidation_needs_far_fewer_fences_and_fewer_commands()
    {
        long Commands(bool lazy, string kind) => Run(X86, null, new() { LazyInvalidation = lazy, RecordSeries = false })
            .Hardware.Commands.Where(c => c.Kind.StartsWith(kind, StringComparison.Ordinal)).Sum(c => c.Commands);

        Commands(lazy: true, "IOFENCE.C").ShouldBeLessThan(Commands(lazy: false, "IOFENCE.C") / 4);
        Commands(lazy: true, "IOTINVAL.VMA").ShouldBeLessThan(Commands(lazy: false, "IOTINVAL.VMA") * 2 / 3);
    }

    [Theory]
    [InlineData(X86)]
    [InlineData(RiscV)]
    public void A_driver_that_does_not_invalidate_after_unmap_is_caught_by_hostile_hardware(string name)
    {
        CommandFilter filter = CommandFilter.LosesInvalidations();
        ReplayReport report = Run(name, null, new()
        {
            Hostile = true,
            RecordSeries = false,
            Machine = machine => machine with { DriverRegisters = filter.Registers, DriverMemory = filter.Memory },
        });

        report.Passed.ShouldBeFalse();
        report.Checks.MismatchesByKind.ShouldContain(c => c.Name == "faults after unmap" && c.Count > 1000);
        Mismatch first = report.Checks.FirstMismatches[0];
        first.Kind.ShouldBe("faults after unmap");
        first.Expected.ShouldStartWith("a page fault of a ");
        first.Got.ShouldStartWith("pa 0x");
        first.Line.ShouldBe(Recordings.Trace(name).Mappings.First(m => m.IsUnmap).Line);
        report.Checks.FirstMismatches.Count.ShouldBe(CheckReport.ListedMismatches);
    }

    [Theory]
    [InlineData(X86, 1)]
    [InlineData(RiscV, 2)]
    [InlineData(RiscV, 3)]
    public void One_flipped_bit_of_one_leaf_is_caught(string name, long seed)
    {
        // A leaf in the middle of the run, and a bit of its page number.
        long leaf = Recordings.Trace(name).Mappings.Count(static m => !m.IsUnmap) / 2;
        ReplayReport report = Run(name, null, new()
        {
            Check = CheckLevel.All,
            Seed = seed,
            RecordSeries = false,
            Machine = machine => machine with
            {
                DriverMemory = memory => new FlippedLeafMemory(memory, machine.TableMemory, leaf, 10 + (int)(seed % 18)),
            },
        });

        report.Passed.ShouldBeFalse();
        report.Checks.MismatchCount.ShouldBeInRange(1, 100);
        report.Checks.FirstMismatches[0].Kind.ShouldBe("reaches its page after map");
    }

    [Fact]
    public void The_same_seed_gives_the_same_report_and_another_checks_other_bytes()
    {
        ReplayReport a = Run("x86-disk.ftrace.txt", null, new() { Seed = 7 });
        ReplayReport b = Run("x86-disk.ftrace.txt", null, new() { Seed = 7 });
        ReplayReport c = Run("x86-disk.ftrace.txt", null, new() { Seed = 8 });

        Counts(a).ShouldBe(Counts(b));
        Counts(a).ShouldNotBe(Counts(c));

        static string Counts(ReplayReport r) => string.Join(' ', r.Checks.ByKind.Select(k => k.Count))
            + string.Join(' ', r.Devices.Select(d => d.Translation.ToString())) + string.Join(' ', r.Hardware.Faults);
    }

    [Fact]
    public void Three_renderings_give_the_same_report()
    {
        ReplayReport[] reports =
        [
            .. new[] { "x86-disk.ftrace.txt", "x86-disk.trace-cmd.txt", "x86-disk.perf-script.txt" }.Select(n => Run(n, null, new())),
        ];

        reports.Select(r => r.Inputs[0].Format).ShouldBe(["ftrace", "trace-cmd", "perf-script"]);
        foreach (ReplayReport report in reports)
        {
            report.Checks.MismatchCount.ShouldBe(0, Describe(report));
            report.Checks.ByKind.ShouldBe(reports[0].Checks.ByKind);
            report.Devices.ShouldBe(reports[0].Devices);
            report.Attribution.Maps.ShouldBe(reports[0].Attribution.Maps);
        }
    }

    [Fact]
    public void The_report_holds_what_a_performance_engineer_asks_for()
    {
        ReplayReport report = Run(X86, null, new());

        report.Mappings.Maps.ShouldBe(41964);
        report.Mappings.Unmaps.ShouldBe(22422);
        report.Mappings.PeakLiveRanges.ShouldBe(689);
        report.Mappings.PeakLiveBytes.ShouldBe(20529152);
        report.Mappings.EndLiveRanges.ShouldBe(562);
        report.Mappings.NeverUnmapped.ShouldBe(562);
        report.Mappings.NeverUnmappedRanges.Count.ShouldBe(MappingReport.ListedRanges);
        report.Mappings.NeverUnmappedRanges[0].Line.ShouldBe(45);
        report.Mappings.BySize[0].ShouldBe(new RangeSizeCount(4096, 36244, 19377 + Extra(report)));
        report.Mappings.Leaves.Select(l => l.SizeBytes).ShouldBe([4096, 65536, 2 << 20]);
        report.Mappings.Leaves[^1].ShouldBe(new LeafSizeCount(2 << 20, 8, 8));
        report.Devices.Select(d => d.Name).ShouldBe(["0000:00:02.0", "0000:00:03.0", "0000:00:04.0", "0000:00:1f.0"]);
        report.Devices.Sum(d => d.Maps).ShouldBe(41964);
        report.Devices.Sum(d => d.Unmaps).ShouldBe(22422);
        report.Devices.ShouldAllBe(d => d.PageTables.PeakBytes >= 4 * 4096 && d.Translation.Translations > 0);
        report.Devices.Sum(d => d.Translation.IotlbHits + d.Translation.IotlbMisses).ShouldBe(report.Hardware.Total.Translations);
        report.PageTables.PeakBytes.ShouldBeGreaterThan(0);
        report.Hardware.Total.MemoryReadsPerWalk.ShouldBeInRange(1, 10);
        report.Series.StartSeconds.Count.ShouldBeInRange(500, SeriesReport.MaxPoints);
        report.Series.Maps.Sum().ShouldBe(41964);
        report.Series.Unmaps.Sum().ShouldBe(22422);
        report.Series.RecordedInvalidations.Sum().ShouldBe(1629);
        report.Series.Marks.ShouldContain(m => m.Text == "seq-read-4k-direct");
        report.Throughput.Events.ShouldBe(132161);

        // README of the recordings: median 9.2 ms, 90 % 19 ms, at most 51 ms from an unmap to the next flush.
        DurationReport wait = report.RecordedInvalidations.UnmapToInvalidation!;
        wait.MedianSeconds.ShouldBe(0.0092, 0.0005);
        wait.P90Seconds.ShouldBe(0.019, 0.001);
        wait.MaxSeconds.ShouldBe(0.051, 0.001);

        static long Extra(ReplayReport r) => r.Mappings.BySize[0].Unmaps - 19377;
    }

    [Fact]
    public void Odd_cases_go_through_the_stack_without_a_mismatch_and_are_reported()
    {
        const string a = "0000:00:02.0";
        const string b = "0000:00:03.0";
        Trace trace = new Trace().RawMap(0x28000000, 0x4000, 0x28000000, "init-1").Attach(a, "init-1")
            .Unmap(a, 0x1000, 0x1000)
            .Map(a, 0x10000, 0x8000, 0x50000).Unmap(a, 0x12000, 0x2000).Unmap(a, 0x10000, 0x8000)
            .Map(a, 0x10000, 0x3000, 0x70000).Map(a, 0x11000, 0x1000, 0x90000).Map(b, 0x11000, 0x1000, 0xa0000)
            .Unmap(null, 0x12000, 0x1000)
            .Map(b, 0x200000, 0x613000, 0x4000000).Unmap(b, 0x200000, 0x613000).Map(b, 0x210000, 0x1000, 0x5000000)
            .Line("CPU:1 [LOST 12 EVENTS]").Map(a, 0xffff_ffff_f000, 0x1000, 0x60000);
        foreach (bool lazy in new[] { false, true })
        {
            ReplayReport report = TraceReplayer.Run(
                Recordings.Parse(trace.ToString()).Trace!, null,
                new() { Hostile = true, LazyInvalidation = lazy, Check = CheckLevel.All, Tables = PageTableFormat.Of<Sv39>() },
                cancellationToken: TestContext.Current.CancellationToken);

            report.Checks.MismatchCount.ShouldBe(0, Describe(report));
            Oddity(report, "direct region mapped before the attach").ShouldBe(1);
            Oddity(report, "unmap of what was never mapped").ShouldBe(1);
            Oddity(report, "part of a mapping unmapped").ShouldBe(1);
            Oddity(report, "unmap of a range with holes").ShouldBe(1);
            Oddity(report, "one unmap over several maps").ShouldBe(1);
            Oddity(report, "map over a live mapping").ShouldBe(1);
            Oddity(report, "unmap without a device, its IOVA live for one").ShouldBe(1);
            Oddity(report, "range that needs leaves of several sizes").ShouldBe(1);
            Oddity(report, "map outside the IOVAs of the paging mode").ShouldBe(1);
            Oddity(report, "markers of lost events").ShouldBe(1);
            report.Inputs[0].LostEvents.ShouldBe(12);
            Check(report, "reaches its page after map").ShouldBeGreaterThan(0x613);
        }
    }

    [Fact]
    public void A_log_of_another_run_and_files_of_the_wrong_kind_are_refused()
    {
        Fails(RiscV, "riscv-faults.dma.log.gz").ShouldBe(TraceInputError.NoCommonMarks);
        Fails(RiscV, X86).ShouldBe(TraceInputError.WrongKind);
        Fails(RiscVLog, RiscVLog).ShouldBe(TraceInputError.WrongKind);

        static TraceInputError Fails(string trace, string log) =>
            Should.Throw<TraceInputException>(() => Run(trace, log, new())).Error;
    }

    [Fact]
    public void A_wrong_page_in_the_log_is_a_mismatch_with_its_line()
    {
        DmaLog log = Recordings.Log("riscv-faults.dma.log.gz");
        int wrong = log.Accesses.First(static a => a.Outcome == DmaOutcome.Translated && a.Line > 1000).Line;
        log = Recordings.Changed(log, (_, access) => access.Line == wrong ? access with { Physical = access.Physical + 0x10000 } : access);
        ReplayReport report = TraceReplayer.Run(
            Recordings.Trace("riscv-faults.ftrace.txt.gz"), log, cancellationToken: TestContext.Current.CancellationToken);

        Mismatch mismatch = report.Checks.FirstMismatches.ShouldHaveSingleItem();
        mismatch.Line.ShouldBe(wrong);
        mismatch.Path.ShouldEndWith("riscv-faults.dma.log.gz");
        mismatch.Kind.ShouldBe("logged DMA reaches its page");
        report.DmaLog!.Classes.ShouldContain(new NamedCount("not explained by any mapping", 1));
    }

    [Fact]
    public void Clocks_that_are_looser_than_the_tolerance_are_told_from_wrong_mappings_and_the_tolerance_that_would_do_is_named()
    {
        ReplayReport tight = Faults(1e-6);
        tight.Passed.ShouldBeFalse();
        Oddity found = tight.Oddities.Single(o => o.Name == "unexplained DMAs whose page is mapped so a little earlier or later");
        found.Count.ShouldBe(tight.DmaLog!.Classes.Single(c => c.Name == "not explained by any mapping").Count);
        found.Count.ShouldBe(tight.Checks.MismatchCount);

        Match named = Regex.Match(found.Outcome, "a tolerance of (?<ms>[0-9]+) ms", RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1));
        named.Success.ShouldBeTrue(found.Outcome);
        ReplayReport loose = Faults(int.Parse(named.Groups["ms"].Value, CultureInfo.InvariantCulture) / 1e3);
        loose.Checks.MismatchCount.ShouldBe(0, Describe(loose));
        loose.Oddities.ShouldNotContain(o => o.Name == found.Name);

        static ReplayReport Faults(double tolerance) => Run(
            "riscv-faults.ftrace.txt.gz", "riscv-faults.dma.log.gz", new() { ToleranceSeconds = tolerance, RecordSeries = false });
    }

    [Fact]
    public void A_replay_tells_how_far_it_is_and_stops_when_cancelled()
    {
        List<ReplayProgress> seen = [];
        using CancellationTokenSource source = new();
        Should.Throw<OperationCanceledException>(() => TraceReplayer.Run(
            Recordings.PathOf(X86), null, new(), new Collect(p =>
            {
                seen.Add(p);
                if (p is { Phase: "replaying", Fraction: > 0.3 })
                {
                    source.Cancel();
                }
            }),
            source.Token));

        seen.Select(p => p.Phase).Distinct().ShouldBe(["reading", "replaying"]);
        seen[^1].Fraction.ShouldBeInRange(0.3, 0.5);
    }

    private static ReplayReport Run(string name, string? log, ReplayOptions options) => TraceReplayer.Run(
        Recordings.PathOf(name), log is null ? null : Recordings.PathOf(log), options, null, TestContext.Current.CancellationToken);

    private static long Check(ReplayReport report, string kind) =>
        report.Checks.ByKind.Where(k => k.Name == kind).Sum(k => k.Count);

    private static long Oddity(ReplayReport report, string name) =>
        report.Oddities.Where(o => o.Name == name).Sum(o => o.Count);

    private static string Describe(ReplayReport report) => string.Join(
        '\n', report.Checks.FirstMismatches.Take(5).Select(m => $"{m.Line} {m.Device} {m.Kind} {m.Iova}: {m.Expected}, got {m.Got}"));

    private sealed class Collect(Action<ReplayProgress> action) : IProgress<ReplayProgress>
    {
        public void Report(ReplayProgress value) => action(value);
    }

    private static PageTableFormat FormatOf(string name) =>
        PageTableFormat.TryFind(name, out PageTableFormat? format) ? format : throw new ArgumentException(name, nameof(name));
}
