using Ioasis.Replay.Report;
using Microsoft.Playwright;

namespace Ioasis.Cli.Tests;

public sealed class HtmlReportTests(Browser browser) : IClassFixture<Browser>, IDisposable
{
    private const string Attack = "</script><script>window.owned=1</script><img src=x onerror=\"window.owned=1\">'\"><b>&lt;";
    private readonly TemporaryFolder _folder = new();
    private readonly List<string> _complaints = [];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task The_page_loads_without_an_error_and_without_a_request()
    {
        IPage page = await Open(SampleReports.Realistic());
        _complaints.ShouldBeEmpty();
        (await page.TitleAsync()).ShouldBe("x86-lazy-ftrace.txt.xz: Ioasis replay");
        (await page.InnerTextAsync("#verdict")).ShouldContain("Every one of 251,892 checks held");
    }

    [Theory]
    [InlineData(360, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    public async Task Every_plot_and_map_has_drawn(int width, ColorScheme scheme)
    {
        IPage page = await Open(SampleReports.Realistic(), width, scheme);
        string[] plots = await page.EvaluateAsync<string[]>("() => [...document.querySelectorAll('[data-plot]')].map(p => p.dataset.plot)");
        plots.ShouldBe(["memory", "iotlb", "invalidations"]);
        int[] colours = await page.EvaluateAsync<int[]>("""
            () => [...document.querySelectorAll('canvas')].map(canvas => {
              const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height), seen = new Map();
              for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) {
                const colour = data[i] << 16 | data[i + 1] << 8 | data[i + 2];
                seen.set(colour, (seen.get(colour) ?? 0) + 1);
              }
              return [...seen.values()].filter(n => n > 20).length;
            })
            """);
        colours.Length.ShouldBe(3 + 3);
        colours.ShouldAllBe(c => c >= 3);
        _complaints.ShouldBeEmpty();
    }

    [Theory]
    [InlineData(360)]
    [InlineData(768)]
    [InlineData(1280)]
    public async Task No_width_makes_the_page_scroll_sideways(int width)
    {
        IPage page = await Open(SampleReports.Failing(), width);
        await page.EvaluateAsync("() => document.querySelectorAll('details').forEach(d => d.open = true)");
        (await page.EvaluateAsync<int>("() => document.documentElement.scrollWidth")).ShouldBeLessThanOrEqualTo(width);
        string[] outside = await page.EvaluateAsync<string[]>("""
            () => [...document.querySelectorAll('main *')].filter(e => e.offsetParent && getComputedStyle(e.closest('thead') ?? e).position !== 'absolute'
                && !e.closest('.uplot') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))
            """);
        outside.ShouldBeEmpty();
    }

    [Theory]
    [InlineData(360, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    public async Task Text_is_large_enough_and_has_contrast(int width, ColorScheme scheme)
    {
        IPage page = await Open(SampleReports.Failing(), width, scheme);
        await page.EvaluateAsync("() => document.querySelectorAll('details').forEach(d => d.open = true)");
        string[] poor = await page.EvaluateAsync<string[]>("""
            () => {
              const parse = c => (c.match(/[\d.]+/g) ?? []).map(Number);
              const luminance = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
                .reduce((a, v, i) => a + v * [.2126, .7152, .0722][i], 0);
              const out = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
              for (let node; node = walker.nextNode();) {
                const e = node.parentElement;
                if (!node.data.trim() || !e.offsetParent || e.closest('script,style,.hidden')) continue;
                const style = getComputedStyle(e);
                let back = e;
                while (back && (parse(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) back = back.parentElement;
                const a = luminance(parse(style.color)), b = luminance(parse(getComputedStyle(back).backgroundColor));
                const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
                if (parseFloat(style.fontSize) < 14 || contrast < 4.5) out.push(`${node.data.trim().slice(0, 40)}: ${style.fontSize}, ${contrast.toFixed(1)}`);
              }
              return out;
            }
            """);
        poor.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_device_or_mark_or_file_with_markup_in_its_name_is_only_text()
    {
        IPage page = await Open(SampleReports.Realistic(nic: Attack, mark: Attack, path: $"x/{Attack.Replace("/", "", StringComparison.Ordinal)}"));
        (await page.EvaluateAsync<bool>("() => 'owned' in window")).ShouldBeFalse();
        (await page.Locator("main img, main b b, main script").CountAsync()).ShouldBe(0);
        (await page.Locator("#devices tbody th").AllInnerTextsAsync()).ShouldContain(t => t.Contains("<script>window.owned=1</script>", StringComparison.Ordinal));
        _complaints.ShouldBeEmpty();
    }

    [Fact]
    public async Task The_maps_can_be_read_from_the_keyboard()
    {
        IPage page = await Open(SampleReports.Realistic());
        await page.FocusAsync("canvas[data-map='0']");
        await page.Keyboard.PressAsync("ArrowDown");
        await page.Keyboard.PressAsync("ArrowRight");
        (await page.InnerTextAsync("figure.map output >> nth=0")).ShouldMatch(@"^0x[0-9a-f]+ to 0x[0-9a-f]+ at [\d.]+ s: \d+ % mapped$");
    }

    [Fact]
    public async Task The_memory_plot_changes_its_scale_on_request()
    {
        IPage page = await Open(SampleReports.Realistic());
        (await page.GetAttributeAsync(".switch button[data-scale=log]", "aria-pressed")).ShouldBe("true");
        await page.ClickAsync(".switch button[data-scale=linear]");
        (await page.GetAttributeAsync(".switch button[data-scale=linear]", "aria-pressed")).ShouldBe("true");
        (await page.Locator("[data-plot=memory] canvas").CountAsync()).ShouldBe(1);
        _complaints.ShouldBeEmpty();
    }

    [Fact]
    public async Task Every_plot_has_a_description_and_a_table()
    {
        IPage page = await Open(SampleReports.Realistic());
        (await page.Locator("[data-plot]:not([aria-label]), canvas[data-map]:not([aria-label])").CountAsync()).ShouldBe(0);
        foreach (string section in (string[])["memory", "iova", "iotlb", "invalidations"])
        {
            (await page.Locator($"#{section} details table tbody tr").CountAsync()).ShouldBeGreaterThan(5);
        }
    }

    [Fact]
    public async Task A_failed_run_shows_its_mismatches_first()
    {
        IPage page = await Open(SampleReports.Failing());
        (await page.InnerTextAsync("#verdict")).ShouldContain("2 checks of 251,892 failed");
        (await page.InnerTextAsync("#mismatches")).ShouldContain("0xfff01000");
    }

    [Fact]
    public async Task A_report_without_series_still_makes_a_page()
    {
        IPage page = await Open(SampleReports.Realistic() with { Series = new TimelineRecorder().ToReport() });
        (await page.InnerTextAsync("[data-plot=memory]")).ShouldContain("no time to plot");
        _complaints.ShouldBeEmpty();
    }

    private Task<IPage> Open(ReplayReport report, int width = 1280, ColorScheme scheme = ColorScheme.Light)
    {
        string path = _folder.File("report.html");
        CliRun.Showing(report, "run", "x", "--html", path).Error.ShouldBeEmpty();
        return browser.Open(path, _complaints, width, scheme);
    }
}
