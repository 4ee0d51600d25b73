using System.Text.Json;
using Ioasis.Testing;
using Microsoft.Playwright;

namespace Ioasis.Cli.Tests;

/// <summary><c>ioasis study</c> as a user meets it: tables, JSON, the page, two recordings beside each other, and what it refuses.</summary>
public sealed class StudyCommandTests(Browser browser) : IClassFixture<Browser>, IDisposable
{
    private static readonly string s_faults = Trace("riscv-faults.ftrace.txt.gz");
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void The_text_has_every_table()
    {
        CliRun run = CliRun.Of("study", s_faults);
        run.Status.ShouldBe(0, run.Error);
        run.Out.ShouldStartWith("riscv-faults.ftrace.txt.gz: ");
        foreach (string title in (string[])
        [
            "IOTLB hit ratio by size", "By device", "Associativity and replacement", "Page sizes and alignment", "Strict against lazy invalidation",
            "Paging modes and reads of walks", "Reach of the IOTLB", "IOVA space at the peak",
        ])
        {
            run.Out.ShouldContain($"\n{title}\n");
        }

        run.Out.ShouldContain("  65,536 ");
        run.Out.ShouldContain("each page once after its map and once before its unmap");
    }

    [Fact]
    public void The_JSON_has_the_hits_of_every_size()
    {
        CliRun run = CliRun.Of("study", s_faults, "--dma", Trace("riscv-faults.dma.log.gz"), "--simulate", "8x2", "--json", "-");
        run.Status.ShouldBe(0, run.Error);
        using JsonDocument document = JsonDocument.Parse(run.Out);
        JsonElement study = document.RootElement.GetProperty("studies")[0];
        study.GetProperty("isLogged").GetBoolean().ShouldBeTrue();
        study.GetProperty("faults").GetInt64().ShouldBeGreaterThan(0);
        study.GetProperty("simulations").GetArrayLength().ShouldBe(3);
        foreach (JsonElement layout in study.GetProperty("layouts").EnumerateArray())
        {
            JsonElement curve = layout.GetProperty("curve");
            int[] sizes = [.. curve.GetProperty("sizes").EnumerateArray().Select(static size => size.GetInt32())];
            long[] hits = [.. curve.GetProperty("hits").EnumerateArray().Select(static count => count.GetInt64())];
            sizes.ShouldBe(sizes.Distinct().Order());
            hits.ShouldBe(hits.Order());
            hits.Length.ShouldBe(sizes.Length);
            hits[^1].ShouldBeLessThanOrEqualTo(curve.GetProperty("accesses").GetInt64());
        }
    }

    [Fact]
    public void Two_recordings_stand_beside_each_other()
    {
        CliRun run = CliRun.Of("study", s_faults, s_faults, "--compare");
        run.Status.ShouldBe(0, run.Error);
        run.Out.ShouldContain("A (riscv-faults.ftrace.txt.gz) against B (riscv-faults.ftrace.txt.gz)");
        run.Out.Split('\n').Count(static line => line.Contains(" 0.00 ", StringComparison.Ordinal)).ShouldBeGreaterThanOrEqualTo(17);
        run.Out.ShouldContain("lazy: flushes");
        run.Out.ShouldNotContain("By device");
    }

    [Theory]
    [InlineData(360, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    public async Task The_page_draws_its_plots_without_a_request_and_without_an_error(int width, ColorScheme scheme)
    {
        string path = _folder.File("study.html");
        CliRun.Of("study", s_faults, Trace("x86-disk.ftrace.txt"), "--html", path).Status.ShouldBe(0);
        List<string> complaints = [];
        IPage page = await browser.Open(path, complaints, width, scheme);
        complaints.ShouldBeEmpty();
        (await page.Locator("[data-plot] canvas").CountAsync()).ShouldBe(1 + 2 + 2);
        (await page.Locator("#sizes-2 table[role=table] tbody tr").CountAsync()).ShouldBe(17);
        (await page.EvaluateAsync<int>("() => document.documentElement.scrollWidth")).ShouldBeLessThanOrEqualTo(width);
        (await page.InnerTextAsync("#comparison")).ShouldContain("x86-disk.ftrace.txt");
    }

    [Theory]
    [InlineData("--compare takes two recordings", "X", "--compare")]
    [InlineData("--dma goes with one recording", "X", "X", "--dma", "Y")]
    [InlineData("--simulate '64x3'", "X", "--simulate", "64x3")]
    [InlineData("--simulate '131072x8'", "X", "--simulate", "131072x8")]
    [InlineData("--cost '1,2'", "X", "--cost", "1,2")]
    [InlineData("--iotlb '0'", "X", "--iotlb", "0")]
    [InlineData("Only one of --json and --html", "X", "--json", "-", "--html", "-")]
    [InlineData("there-is-none", "there-is-none")]
    public void What_cannot_be_done_is_said(string message, params string[] arguments)
    {
        CliRun run = CliRun.Of(["study", .. arguments.Select(static argument => argument is "X" ? s_faults : argument)]);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain(message);
    }

    private static string Trace(string name) => Path.Combine(ExternalProgram.RepositoryRoot, "examples", "traces", name);
}
