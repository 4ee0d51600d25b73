using System.Globalization;
using System.Text;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Tests;

/// <summary>The clocks of a trace and of its DMA log, which stand still and jump now and then.</summary>
public sealed class ClockTieTests
{
    private const string Device = "0000:00:03.0";
    private static readonly DateTime s_start = new(2026, 11, 21, 3, 17, 0, DateTimeKind.Utc);

    [Theory]
    [InlineData(42.3, 5)]
    [InlineData(3.0, 0)]
    [InlineData(600.0, 9)]
    public void A_machine_that_stood_still_is_told_and_every_access_is_explained(double stood, int round)
    {
        // The guest's clock stands still behind the accesses of a round.
        ReplayReport report = Replay(new Run().Rounds(10, r => r == round ? stood : 0, _ => 0));

        ClockJumpReport jump = report.DmaLog!.Alignment!.Jumps.ShouldHaveSingleItem();
        jump.Seconds.ShouldBe(stood, 0.01);
        report.DmaLog.Alignment.DriftSeconds.ShouldBe(0, 0.01);
        report.DmaLog.Alignment.ClockRatio.ShouldBe(1, 1e-3);
        Everything_is_explained(report);
    }

    [Fact]
    public void A_guest_whose_clock_jumps_ahead_is_told_and_every_access_is_explained()
    {
        ReplayReport report = Replay(new Run().Rounds(10, _ => 0, r => r == 6 ? 42.9 : 0));

        report.DmaLog!.Alignment!.Jumps.ShouldHaveSingleItem().Seconds.ShouldBe(-42.9, 0.01);
        Everything_is_explained(report);
    }

    [Fact]
    public void Several_jumps_are_told_in_their_order()
    {
        ReplayReport report = Replay(new Run().Rounds(16, r => r is 3 or 11 ? 10 + r : 0, _ => 0));

        report.DmaLog!.Alignment!.Jumps.Select(j => Math.Round(j.Seconds)).ShouldBe([13, 21]);
        Everything_is_explained(report);
    }

    [Fact]
    public void A_mark_whose_line_was_late_is_no_jump()
    {
        Run run = new();
        run.Rounds(10, _ => 0, _ => 0, lateMark: r => r == 5 ? 2.0 : 0);
        ReplayReport report = Replay(run);

        report.DmaLog!.Alignment!.Jumps.ShouldBeEmpty();
        report.DmaLog.Alignment.MaxDelaySeconds.ShouldBe(2.0, 0.01);
        Everything_is_explained(report);
    }

    [Fact]
    public void Accesses_seem_as_early_as_the_log_is_late_where_its_writer_waits_for_the_processor()
    {
        // The least delayed of seven marks is late by 2 or 3 ms, and others by more.
        double[] late = [0.009, 0.003, 0.017, 0.002, 0.006, 0.012];
        ReplayReport report = Replay(new Run().Rounds(24, _ => 0, _ => 0, lateMark: r => late[(r + 6) % 6], firstAccess: 0.0001));

        Everything_is_explained(report);
        report.Oddities.Single(oddity => oddity.Name.Contains("clocks are further apart", StringComparison.Ordinal)).Count.ShouldBeGreaterThan(10);
    }

    [Fact]
    public void Marks_that_are_late_for_seconds_are_known_to_be_by_the_others()
    {
        // While the guest starts, each mark is late by about 12 ms, and none of its neighbours tells so.
        ReplayReport report = Replay(new Run().Rounds(24, _ => 0, _ => 0, lateMark: r => r < 10 ? 0.012 : r % 2 * 0.001, firstAccess: 0.0001));

        Everything_is_explained(report);
        report.Oddities.Single(oddity => oddity.Name.Contains("clocks are further apart", StringComparison.Ordinal)).Count.ShouldBeGreaterThan(5);
    }

    [Fact]
    public void An_early_access_belongs_to_the_first_of_several_maps_of_its_page()
    {
        // A page is mapped every 8 ms for 4 ms, accesses seem 12 ms early, and most lines are 17 ms late: 6 ms behind an access its page
        // is about to be mapped again.
        ReplayReport report = Replay(new Run().Rounds(24, _ => 0, _ => 0, lateMark: r => r < 10 ? 0.012 + (r % 3 == 0 ? 0 : 0.005) : r % 2 * 0.001, brief: 5));

        Everything_is_explained(report);
    }

    [Fact]
    public void Clocks_of_different_rates_make_no_mark_late()
    {
        // The guest's clock loses 0.1 ms in each round of half a second: a mark is not late for that, and an access that is early is nobody's.
        ReplayReport report = Replay(new Run().Rounds(24, _ => 0.0001, _ => 0, lateMark: r => Math.Max(0, r) % 2 * 0.0001, firstAccess: -0.002));

        report.DmaLog!.Classes.Where(c => c.Name.StartsWith("within", StringComparison.Ordinal)).Sum(c => c.Count).ShouldBe(0);
    }

    [Theory]
    [InlineData(0.0005, 12)]
    [InlineData(0.003, 0)]
    public void An_access_before_its_map_is_not_of_it_where_the_log_is_not_late(double early, int explained)
    {
        ReplayReport report = Replay(new Run().Rounds(12, _ => 0, _ => 0, lateMark: r => Math.Max(0, r) % 2 * 0.0001, firstAccess: -early));

        report.DmaLog!.Classes.Where(c => c.Name.StartsWith("within", StringComparison.Ordinal)).Sum(c => c.Count).ShouldBe(explained);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(9)]
    public void Marks_that_are_mostly_apart_are_of_two_runs(int rounds)
    {
        TraceInputException e = Should.Throw<TraceInputException>(() => Replay(new Run().Rounds(rounds, _ => 30, _ => 0)));

        e.Error.ShouldBe(TraceInputError.NoCommonMarks);
        e.Message.ShouldContain("differ, by up to 30.0 s");
        e.Message.ShouldContain("not of the same run");
    }

    private static void Everything_is_explained(ReplayReport report)
    {
        report.Checks.MismatchCount.ShouldBe(0);
        report.DmaLog!.Classes.Select(c => c.Name).ShouldBeSubsetOf(["live", "within the alignment tolerance"]);
    }

    private static ReplayReport Replay(Run run) => TraceReplayer.Run(
        Recordings.Parse(run.Trace).Trace!,
        Recordings.Parse(run.Log).Log!,
        new() { Check = CheckLevel.All, RecordSeries = false },
        cancellationToken: TestContext.Current.CancellationToken);

    /// <summary>Rounds of a mark, a map, some accesses and an unmap, on two clocks.</summary>
    private sealed class Run
    {
        private readonly StringBuilder _trace = new();
        private readonly StringBuilder _log = new();
        private double _guest = 5;
        private double _host = 100;

        public string Trace => _trace.ToString();

        public string Log => _log.ToString();

        public Run Rounds(int count, Func<int, double> stands, Func<int, double> jumps, Func<int, double>? lateMark = null, double? firstAccess = null, int brief = 0)
        {
            Mark(0, lateMark?.Invoke(-1) ?? 0);
            for (int round = 0; round < count; round++)
            {
                ulong iova = 0xfff00000 - ((ulong)round << 12);
                ulong physical = 0x10000000 + ((ulong)round << 12);
                for (int i = 0; i < brief; i++)
                {
                    Map(0xffe00000, 0x20000000);
                    Pass(0.0005);
                    Access(0xffe00000, 0x20000000);
                    Pass(0.0035);
                    Unmap(0xffe00000);
                    Pass(0.004);
                }

                Map(iova, physical);
                if (firstAccess is { } after)
                {
                    Access(iova, physical, after);
                }

                for (int i = 0; i < 5; i++)
                {
                    Pass(0.05);
                    Access(iova, physical);
                }

                _host += stands(round);
                _guest += jumps(round);
                for (int i = 0; i < 5; i++)
                {
                    Pass(0.05);
                    Access(iova, physical);
                }

                Pass(0.05);
                Unmap(iova);
                Pass(0.05);
                Mark(round + 1, lateMark?.Invoke(round) ?? 0);
            }

            return this;
        }

        private void Map(ulong iova, ulong physical)
        {
            Event(F($"map: IOMMU: iova=0x{iova:x16} - 0x{iova + 4096:x16} paddr=0x{physical:x16} size=4096"));
            Event(F($"dma_map_phys: {Device} dir=TO_DEVICE dma_addr={iova:x} size=4096 phys_addr={physical:x} attrs="));
        }

        private void Unmap(ulong iova)
        {
            Event(F($"unmap: IOMMU: iova=0x{iova:x16} - 0x{iova + 4096:x16} size=4096 unmapped_size=4096"));
            Event(F($"dma_unmap_phys: {Device} dir=TO_DEVICE dma_addr={iova:x} size=4096 attrs="));
        }

        private void Mark(int number, double late)
        {
            Event(F($"tracing_mark_write: mark {number}: round"));
            Line(_host + late, F($"pci_cfg_write iommu-testdev 00:06.0 @0x0 <- 0xa55a{number:x4}"));
        }

        private void Access(ulong iova, ulong physical, double after = 0) =>
            Line(_host + after, F($"riscv_iommu_dma riscv,iommu: translate 0000:00:03.0 #0 RO 0x{iova:x} -> 0x{physical:x}"));

        private void Event(string text)
        {
            _guest += 1e-5;
            _host += 1e-5;
            _trace.Append(F($"       writer-90      [000] .....  {_guest:F6}: {text}\n"));
        }

        private void Line(double at, string text) =>
            _log.Append(F($"{s_start.AddTicks((long)(at * 1e7)):yyyy-MM-ddTHH:mm:ss.ffffffZ} {text}\n"));

        private void Pass(double seconds)
        {
            _guest += seconds;
            _host += seconds;
        }

        private static string F(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
    }
}
