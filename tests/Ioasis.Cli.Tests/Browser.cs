using System.Diagnostics;
using Microsoft.Playwright;

namespace Ioasis.Cli.Tests;

/// <summary>
/// The system's Chromium under Playwright. Where there is none: installed with apt-get when this process may, otherwise
/// the tests are skipped, and with CI=true they fail.
/// </summary>
public sealed class Browser : IAsyncLifetime
{
    private static readonly string[] Names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

    // Two classes of tests at once have a browser each, and apt-get does not wait for another one.
    private static readonly SemaphoreSlim Installing = new(1);
    private IPlaywright? _playwright;
    private IBrowser? _browser;
    private string? _missing;

    public async ValueTask InitializeAsync()
    {
        string? path = Find() ?? await InstallAsync();
        if (path is null)
        {
            _missing = $"no Chromium on PATH ({string.Join(", ", Names)})";
            return;
        }

        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(new()
        {
            ExecutablePath = path,
            Args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        });
    }

    private static async Task<string?> InstallAsync()
    {
        await Installing.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            if (Find() is null && Environment.UserName == "root" && OnPath("apt-get") is { } apt)
            {
                Shell(apt, "update");
                Shell(apt, "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", "chromium");
            }

            return Find();
        }
        finally
        {
            _ = Installing.Release();
        }
    }

    /// <summary>A page of that size that has loaded a report; <paramref name="complaints"/> gathers errors and requests.</summary>
    public async Task<IPage> Open(string html, List<string> complaints, int width = 1280, ColorScheme scheme = ColorScheme.Light)
    {
        if (_browser is null)
        {
            Assert.SkipWhen(Environment.GetEnvironmentVariable("CI") != "true", _missing!);
            Assert.Fail(_missing);
        }

        IPage page = await _browser!.NewPageAsync(new() { ViewportSize = new() { Width = width, Height = 900 }, ColorScheme = scheme });
        page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning")
            {
                complaints.Add($"console: {message.Text}");
            }
        };
        page.PageError += (_, error) => complaints.Add($"script: {error}");
        page.Request += (_, request) =>
        {
            if (!request.Url.StartsWith("file:", StringComparison.Ordinal) && !request.Url.StartsWith("data:", StringComparison.Ordinal))
            {
                complaints.Add($"request: {request.Url}");
            }
        };
        await page.GotoAsync(new Uri(html).AbsoluteUri);
        await page.WaitForSelectorAsync("html[data-drawn=true]");
        await page.EvaluateAsync("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
        return page;
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null)
        {
            await _browser.DisposeAsync();
        }

        _playwright?.Dispose();
    }

    private static string? Find() => Names.Select(OnPath).FirstOrDefault(p => p is not null);

    private static string? OnPath(string name) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Append("/usr/bin")
        .Where(f => f.Length > 0).Select(f => Path.Combine(f, name)).FirstOrDefault(File.Exists);

    private static void Shell(string program, params string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["DEBIAN_FRONTEND"] = "noninteractive";
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        process.StandardError.ReadToEnd();
        output.GetAwaiter().GetResult();
        process.WaitForExit();
    }
}
