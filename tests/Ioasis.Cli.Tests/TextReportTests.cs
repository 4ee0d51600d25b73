using Ioasis.Cli.Rendering;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Tests;

public class TextReportTests
{
    [Fact]
    public void The_summary_fits_eighty_columns_and_has_no_control_characters()
    {
        string text = CliRun.Showing(SampleReports.Realistic(), "run", "x").Out;
        string[] lines = text.Split('\n');
        lines.Where(l => l.Length > 80).ShouldBeEmpty();
        lines.Where(l => l.EndsWith(' ')).ShouldBeEmpty();
        text.Where(c => char.IsControl(c) && c is not ('\n' or '\r')).ShouldBeEmpty();
    }

    [Fact]
    public void The_last_line_is_the_verdict()
    {
        string[] lines = CliRun.Showing(SampleReports.Realistic(), "run", "x").Out.TrimEnd().Split('\n');
        lines[^1].ShouldBe("0 mismatches in 251,892 checks: every check held");
        CliRun failing = CliRun.Showing(SampleReports.Failing(), "run", "x");
        failing.Status.ShouldBe(1);
        failing.Out.TrimEnd().Split('\n')[^1].ShouldStartWith("2 mismatches in 251,892 checks");
    }

    [Fact]
    public void Each_mismatch_names_its_file_line_and_what_was_expected()
    {
        string text = CliRun.Showing(SampleReports.Failing(), "run", "x").Out;
        text.ShouldContain("t.txt:4711: 0000:00:03.0 iova 0xfff01000: faults after unmap");
        text.ShouldContain("expected a page fault of a read, got pa 0x10a3c6000");
    }

    [Fact]
    public void Tables_line_up()
    {
        string text = CliRun.Showing(SampleReports.Realistic(), "run", "x").Out.ReplaceLineEndings("\n");
        text.ShouldContain("""
            Attribution
              device known by    maps  unmaps
              iova_link        21,447       -
              dma_map_phys     20,466       -
              dma_alloc            50       -
              attach                1       -
              dma_unmap_phys        -  19,955
              iova_destroy          -   2,445
              rest                  -      22
              no event ties 0 maps and 22 unmaps to a device: the rest goes to 0000:00:02.0

            """.ReplaceLineEndings("\n"));
        text.ShouldContain("""
            Page sizes
              page    leaves installed  live at the end
              4 KiB             71,000              271
              64 KiB               560                0
              2 MiB                  8                8
            """.ReplaceLineEndings("\n"));
    }

    [Fact]
    public void Every_part_of_the_result_is_in_the_summary()
    {
        string text = string.Join(' ', CliRun.Showing(SampleReports.Realistic(), "run", "x").Out.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        foreach (string part in (string[])[
            "132,161 events", "2 unparsed lines", "unparsed line 17: half a li", "1 lost marker (12 events lost)", "19.6 MiB", "Never unmapped: 272 ranges",
            "IOTLB (64 entries, 4 ways)", "reads/walk", "IOTINVAL.VMA PSCID", "cache_tag_flush_range", "read page fault", "one unmap covers many maps",
            "within tolerance", "101 marks", "1.32 M/s events", "sv57, lazy invalidation"])
        {
            text.ShouldContain(part);
        }
    }

    [Fact]
    public void Terminal_escapes_of_a_recording_stay_words()
    {
        string text = CliRun.Showing(SampleReports.Realistic(nic: "\u001b]0;owned\u0007dev"), "run", "x").Out;
        text.ShouldNotContain('\u001b');
        text.ShouldContain("\uFFFD]0;owned\uFFFDdev");
    }

    [Fact]
    public void Colour_is_for_terminals_only()
    {
        using StringWriter colour = new();
        TextReport.Write(colour, colour: true, SampleReports.Realistic());
        colour.ToString().ShouldContain("\u001b[32;1m0 mismatches");
    }

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(1023, "1023 B")]
    [InlineData(4096, "4 KiB")]
    [InlineData(20529152, "19.6 MiB")]
    [InlineData(1048575, "1.00 MiB")]
    [InlineData(1L << 60, "1 EiB")]
    public void Bytes_are_in_binary_units(long value, string text) => Format.Bytes(value).ShouldBe(text);

    [Theory]
    [InlineData(0, "0.00 %")]
    [InlineData(1, "100.00 %")]
    [InlineData(0.999999, ">99.99 %")]
    [InlineData(0.0000001, "<0.01 %")]
    [InlineData(0.9164, "91.64 %")]
    public void A_percentage_is_full_or_empty_only_when_it_is(double value, string text) => Format.Percent(value).ShouldBe(text);

    [Theory]
    [InlineData(0.0092, "9.20 ms")]
    [InlineData(0.00014, "140 µs")]
    [InlineData(61.7, "61.7 s")]
    [InlineData(0.9999, "1.00 s")]
    public void Times_have_three_digits(double value, string text) => Format.Seconds(value).ShouldBe(text);

    [Fact]
    public void A_report_without_events_has_no_division_by_zero()
    {
        ReplayReport report = SampleReports.Realistic();
        TranslationReport none = new() { Translations = 0, IotlbHits = 0, IotlbMisses = 0, IotlbEvictions = 0, Walks = 0, WalkMemoryReads = 0, Faults = 0 };
        report = report with
        {
            Devices = [], Series = new TimelineRecorder().ToReport(), DmaLog = null, Hardware = report.Hardware with { Total = none },
            Mappings = report.Mappings with { Maps = 0, BySize = [new(4096, 0, 1)], Leaves = [] },
            Throughput = report.Throughput with { ReplaySeconds = 0 },
        };
        CliRun run = CliRun.Showing(report, "run", "x");
        run.Status.ShouldBe(0);
        run.Out.ShouldNotContain("NaN");
        CliRun.Showing(report, "run", "x", "--html", "-").Out.ShouldNotContain("NaN");
        CliRun.Showing(report, "run", "x", "--json", "-").Status.ShouldBe(0);
    }
}
