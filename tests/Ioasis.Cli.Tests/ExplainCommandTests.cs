using System.Text.Json;
using Shouldly;
using Xunit;

namespace Ioasis.Cli.Tests;

/// <summary><c>ioasis explain</c> as a user meets it: text, JSON, and what it says when there is nothing to explain.</summary>
public sealed class ExplainCommandTests
{
    private const string Log = """
        [   12.345678] DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0xffe00000 [fault reason 0x05] PTE Write access is not set
        [   12.345679] DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0xffe01000 [fault reason 0x05] PTE Write access is not set

        """;

    [Fact]
    public void The_text_names_device_access_address_and_reason()
    {
        CliRun run = Explain(Log);
        run.Status.ShouldBe(0, run.Error);
        run.Out.ShouldContain("1. 0000:01:00.0 wrote 0xffe00000, 2 times");
        run.Out.ShouldContain("no write permission (0x5) - VT-d specification, 7.1.3");
        run.Out.ShouldContain("Likely causes:");
        run.Out.ShouldEndWith("2 faults of 1 kind in 2 lines.\n");
    }

    [Fact]
    public void The_JSON_has_every_fault()
    {
        CliRun run = Explain(Log, "--json");
        run.Status.ShouldBe(0, run.Error);
        using JsonDocument document = JsonDocument.Parse(run.Out);
        document.RootElement.GetProperty("faults").GetArrayLength().ShouldBe(2);
        document.RootElement.GetProperty("groups")[0].GetProperty("first").GetProperty("device").GetString().ShouldBe("0000:01:00.0");
    }

    [Theory]
    [InlineData("", "is empty")]
    [InlineData("usb 1-1: new device\n", "none of 1 lines is a fault of an IOMMU")]
    [InlineData("mtk-iommu 1: fault type=0x280 iova=0x1000\n", "1 of 1 lines look like faults of an IOMMU and are not understood, line 1 first")]
    public void Nothing_to_explain_is_bad_input(string text, string message)
    {
        CliRun run = Explain(text);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain(message);
    }

    [Fact]
    public void A_recording_that_is_none_is_bad_input()
    {
        CliRun run = Explain(Log, "--trace", "/dev/null");
        run.Status.ShouldBe(2);
        run.Error.ShouldContain("/dev/null");
    }

    [Fact]
    public void With_a_snapshot_the_step_that_fails_is_marked()
    {
        using TemporaryFolder folder = new();
        File.WriteAllBytes(folder.File("memory.bin"), new byte[8192]);
        string[] snapshot = ["--memory", folder.File("memory.bin") + "@0x4000", "--registers", folder.Write("registers.txt", "RTADDR_REG = 0x4000\n")];
        CliRun run = Explain(Log, snapshot);
        run.Status.ShouldBe(0, run.Error);
        run.Out.ShouldContain("The tables, for a write of 0xffe00000 by 0000:01:00.0:");
        run.Out.ShouldContain("   >> 2. root entry of bus 0x01 (9.1) at 0x4010: 0x0000000000000000 0x0000000000000000\n        P=0  context table=0x0\n        FAILS: P is 0");
        using JsonDocument document = JsonDocument.Parse(Explain(Log, [.. snapshot, "--json"]).Out);
        JsonElement walk = document.RootElement.GetProperty("groups")[0].GetProperty("walk");
        walk.GetProperty("end").GetString().ShouldBe("Faults");
        walk.GetProperty("steps")[1].GetProperty("fails").GetBoolean().ShouldBeTrue();
    }

    [Fact]
    public void The_page_has_a_picture_of_the_neighbourhood_and_nothing_from_the_log_becomes_markup()
    {
        using TemporaryFolder folder = new();
        string trace = folder.Write(
            "trace.txt",
            """
                       cpu-1       [000] .....    11.000000: map: IOMMU: iova=0x00000000ffe00000 - 0x00000000ffe01000 paddr=0x0000000040000000 size=4096
                       cpu-1       [000] .....    12.000000: unmap: IOMMU: iova=0x00000000ffe00000 - 0x00000000ffe01000 size=4096 unmapped_size=4096
                       cpu-1       [000] .....    13.000000: map: IOMMU: iova=0x00000000ffe02000 - 0x00000000ffe04000 paddr=0x0000000040002000 size=8192

            """);
        CliRun run = Explain(Log.Replace("PTE Write", "<b>PTE</b> Write", StringComparison.Ordinal), "--trace", trace, "--html", "-");
        run.Status.ShouldBe(0, run.Error);
        run.Out.ShouldContain("<svg ");
        run.Out.Split("<rect ").Length.ShouldBeGreaterThanOrEqualTo(3);
        run.Out.ShouldContain("Use after unmap");
        run.Out.ShouldNotContain("<b>PTE</b>");
        run.Out.ShouldEndWith("</html>\n");
    }

    [Theory]
    [InlineData("--memory and --registers go together", "--memory", "x")]
    [InlineData("--memory and --registers go together", "--registers", "x")]
    [InlineData("Only one of --json and --html", "--json", "--html", "-")]
    [InlineData("is no address", "--memory", "x@here", "--registers", "x")]
    public void What_cannot_be_done_is_said(string message, params string[] options)
    {
        CliRun run = Explain(Log, options);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain(message);
    }

    private static CliRun Explain(string text, params string[] options)
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, text);
            return CliRun.Of(["explain", path, .. options]);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
