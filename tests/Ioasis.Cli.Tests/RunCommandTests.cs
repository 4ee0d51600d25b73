using System.Diagnostics;
using System.IO.Compression;
using System.Text;
using System.Text.Json.Nodes;

namespace Ioasis.Cli.Tests;

/// <summary>The command with the real engine behind it.</summary>
public sealed class RunCommandTests : IDisposable
{
    private const string Trace = """
        # tracer: nop
        #
        # entries-in-buffer/entries-written: 6/6   #P:2
                    init-1       [001] .....     3.684517: add_device_to_group: IOMMU: groupID=2 device=0000:00:02.0
                    init-1       [001] .....     3.777302: attach_device_to_domain: IOMMU: device=0000:00:02.0
                      dd-90      [001] .....     4.000100: map: IOMMU: iova=0x00000000fffff000 - 0x0000000100000000 paddr=0x0000000012345000 size=4096
                      dd-90      [001] .....     4.000101: dma_map_phys: 0000:00:02.0 dir=BIDIRECTIONAL dma_addr=fffff000 size=4096 phys_addr=12345000 attrs=
                      dd-90      [001] .....     4.000200: unmap: IOMMU: iova=0x00000000fffff000 - 0x0000000100000000 size=4096 unmapped_size=4096
                      dd-90      [001] .....     4.000201: dma_unmap_phys: 0000:00:02.0 dir=BIDIRECTIONAL dma_addr=fffff000 size=4096 attrs=

        """;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_recording_that_is_replayed_well_ends_with_status_0()
    {
        CliRun run = CliRun.Of("run", _folder.Write("t.txt", Trace), "--check", "all");
        run.Error.ShouldBeEmpty();
        run.Status.ShouldBe(0);
        run.Out.ShouldContain("6 events");
        run.Out.TrimEnd().Split('\n')[^1].ShouldMatch("^0 mismatches in [1-9][0-9]* checks: every check held$");
    }

    [Theory]
    [InlineData("--mode", "sv39")]
    [InlineData("--mode", "sv48")]
    [InlineData("--invalidation", "lazy")]
    [InlineData("--iotlb", "4x2")]
    [InlineData("--iotlb", "8")]
    [InlineData("--seed", "77")]
    [InlineData("--check", "none")]
    [InlineData("--format", "ftrace")]
    [InlineData("--rest", "0000:00:02.0")]
    public void An_option_reaches_the_engine(string option, string value)
    {
        CliRun run = CliRun.Of("run", _folder.Write("t.txt", Trace), option, value, "--json", "-");
        run.Status.ShouldBe(0);
        JsonNode options = JsonNode.Parse(run.Out)!["options"]!;
        string shown = option switch
        {
            "--mode" => options["mode"]!.ToString(),
            "--invalidation" => options["invalidation"]!.ToString(),
            "--seed" => options["seed"]!.ToString(),
            "--check" => options["check"]!.ToString(),
            "--rest" => options["restDevice"]!.ToString(),
            "--format" => options["requestedFormat"]?.ToString() ?? "",
            _ => value.Contains('x') ? $"{options["iotlbEntries"]}x{options["iotlbWays"]}" : options["iotlbEntries"]!.ToString(),
        };
        shown.ShouldBe(value);
    }

    [Theory]
    [InlineData("vtd", "vtdstage2level5")]
    [InlineData("vtd,levels=3", "vtdstage2level3")]
    [InlineData("vtd,legacy,caching-mode=on", "vtdstage2level5")]
    [InlineData("riscv,levels=4", "sv48")]
    public void A_recording_is_replayed_on_the_IOMMU_that_the_command_line_names(string iommu, string mode)
    {
        CliRun run = CliRun.Of("run", _folder.Write("t.txt", Trace), "--check", "all", "--hostile", "--iommu", iommu, "--json", "-");
        run.Status.ShouldBe(0, run.Error);
        JsonNode.Parse(run.Out)!["options"]!["mode"]!.ToString().ShouldBe(mode);
        run.Out.ShouldContain(iommu.StartsWith("vtd", StringComparison.Ordinal) ? "inv_wait_dsc" : "IOFENCE.C");
    }

    [Theory]
    [InlineData("# ioasis recording 1\n# ioasis kernel 6.1.0-50-amd64 x86_64\n# ioasis begin\n", null, "vtd", "vtdstage2level5")]
    [InlineData("# ioasis recording 1\n# ioasis kernel 7.2.0 riscv64\n# ioasis begin\n", null, "riscv", "sv57")]
    [InlineData("# ========\n# arch : x86_64\n# ========\n", null, "vtd", "vtdstage2level5")]
    [InlineData("# arch : aarch64\n", null, "riscv", "sv57")]
    [InlineData("", null, "riscv", "sv57")]
    [InlineData("# arch : i686\n", "--iommu riscv", "riscv", "sv57")]
    [InlineData("# arch : x86_64\n", "--mode sv39", "riscv", "sv39")]
    [InlineData("# arch : x86_64\n", "--mode x64level4", "vtd", "x64level4")]
    [InlineData("", "--mode vtdstage2level3", "vtd", "vtdstage2level3")]
    public void A_recording_of_x86_is_replayed_on_VTd_unless_the_command_line_says_otherwise(string head, string? options, string iommu, string mode)
    {
        CliRun run = CliRun.Of(["run", _folder.Write("t.txt", head + Trace), "--check", "all", "--json", "-", .. options?.Split(' ') ?? []]);
        run.Status.ShouldBe(0, run.Error);
        JsonNode shown = JsonNode.Parse(run.Out)!["options"]!;
        (shown["iommu"]!.ToString(), shown["mode"]!.ToString()).ShouldBe((iommu, mode));
    }

    [Theory]
    [InlineData("vtd,levels=3", "vtdstage2level5", "levels=3 and mode=vtdstage2level5 exclude each other")]
    [InlineData("vtd,legacy", "x64level4", "there are no tables of mode x64level4 here")]
    [InlineData("vtd", "sv39", "'mode' must be one of vtdstage2level3, ")]
    [InlineData("riscv", "x64level4", "'mode' must be one of sv39, sv48, sv57, not 'x64level4'")]
    public void A_paging_mode_that_the_IOMMU_has_not_is_refused(string iommu, string mode, string says)
    {
        CliRun run = CliRun.Of("run", _folder.Write("t.txt", Trace), "--iommu", iommu, "--mode", mode);
        run.Status.ShouldBe(2);
        run.Error.ShouldContain($"--mode {mode} is not for --iommu {iommu}: {says}");
    }

    [Fact]
    public void Hostile_reaches_the_engine()
    {
        CliRun run = CliRun.Of("run", _folder.Write("t.txt", Trace), "--hostile", "--json", "-");
        JsonNode.Parse(run.Out)!["options"]!["caching"]!.ToString().ShouldBe("hostile");
    }

    [Fact]
    public void A_real_document_is_as_the_published_schema_says()
    {
        CliRun run = CliRun.Of("run", _folder.Write("t.txt", Trace + "no event\n"), "--json", "-");
        Schema.Differences(JsonNode.Parse(File.ReadAllText(Schema.FilePath))!, JsonNode.Parse(run.Out)).ShouldBeEmpty();
    }

    [Fact]
    public void A_missing_file_is_named()
    {
        string path = _folder.File("nowhere.txt");
        Refused(CliRun.Of("run", path), path);
    }

    [Fact]
    public void A_directory_is_refused() => Refused(CliRun.Of("run", Path.GetDirectoryName(_folder.File("x"))!), "");

    [Fact]
    public void An_empty_file_is_refused()
    {
        string path = _folder.Write("empty.txt", "");
        Refused(CliRun.Of("run", path), path);
    }

    [Fact]
    public void A_trace_without_events_is_refused()
    {
        string path = _folder.Write("none.txt", string.Join('\n', Trace.Split('\n').Take(3)) + "\n");
        Refused(CliRun.Of("run", path), path);
    }

    [Fact]
    public void A_file_of_no_known_format_is_refused()
    {
        string path = _folder.Write("letter.txt", "Dear Sir or Madam,\nthis is a letter.\n");
        Refused(CliRun.Of("run", path), path);
    }

    [Fact]
    public void A_binary_file_is_refused_with_its_line()
    {
        string path = _folder.File("program");
        File.WriteAllBytes(path, [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1, 0, 0, 0, 0, 0]);
        Refused(CliRun.Of("run", path), path);
    }

    [Fact]
    public void A_compressed_file_that_is_cut_off_is_refused()
    {
        string path = _folder.File("t.txt.gz");
        using MemoryStream whole = new();
        using (GZipStream gzip = new(whole, CompressionLevel.Optimal, leaveOpen: true))
        {
            gzip.Write(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat(Trace, 50))));
        }

        File.WriteAllBytes(path, whole.ToArray()[..(int)(whole.Length / 2)]);
        Refused(CliRun.Of("run", path), path);
    }

    [Fact]
    public void A_line_that_does_not_parse_is_shown_and_with_strict_input_fatal()
    {
        string path = _folder.Write("t.txt", Trace + "what is this?\n");
        CliRun lenient = CliRun.Of("run", path);
        lenient.Status.ShouldBe(0);
        lenient.Out.ShouldContain("1 unparsed line");
        lenient.Out.ShouldContain("unparsed line 10: what is this?");
        Refused(CliRun.Of("run", path, "--strict-input"), $"{path}:10:");
    }

    [Fact]
    public void A_log_of_the_wrong_kind_is_refused()
    {
        string path = _folder.Write("t.txt", Trace);
        Refused(CliRun.Of("run", path, "--dma", path), path);
    }

    [Theory]
    [InlineData("--mode", "sv32")]
    [InlineData("--invalidation", "sometimes")]
    [InlineData("--check", "most")]
    [InlineData("--iotlb", "0")]
    [InlineData("--iotlb", "64x5")]
    [InlineData("--iotlb", "63x21x3")]
    [InlineData("--iotlb", "12x4")]
    [InlineData("--tolerance", "5")]
    [InlineData("--tolerance", "-1ms")]
    [InlineData("--seed", "x")]
    [InlineData("--format", "etl")]
    [InlineData("--json", "")]
    [InlineData("--no-such-option", "1")]
    public void Bad_usage_is_refused_with_a_hint(string option, string value)
    {
        CliRun run = CliRun.Of("run", _folder.Write("t.txt", Trace), option, value);
        run.Status.ShouldBe(2);
        run.Out.ShouldBeEmpty();
        run.Error.ShouldStartWith("ioasis: ");
        run.Error.ShouldNotContain("   at ");
    }

    [Fact]
    public void Two_documents_do_not_share_standard_output()
    {
        CliRun run = CliRun.Of("run", "x", "--json", "-", "--html", "-");
        run.Status.ShouldBe(2);
        run.Error.ShouldContain("--json and --html");
    }

    [Fact]
    public void An_output_that_cannot_be_written_is_refused_before_the_run()
    {
        CliRun run = CliRun.With((_, _) => throw new InvalidOperationException("ran"), "run", "x", "--html", _folder.File("no/such/folder.html"));
        run.Status.ShouldBe(2);
        run.Error.ShouldContain("does not exist");
    }

    [Fact]
    public void A_defect_of_the_engine_is_a_sentence_and_not_a_stack_trace()
    {
        CliRun run = CliRun.With((_, _) => throw new InvalidOperationException("table 3 is gone"), "run", "x");
        run.Status.ShouldBe(2);
        run.Error.ShouldContain("table 3 is gone");
        run.Error.ShouldNotContain("   at ");
        run.Error.Trim().Split('\n').Length.ShouldBe(1);
    }

    [Fact]
    public void Help_shows_every_option_once_with_its_default_and_examples()
    {
        CliRun run = CliRun.Of("run", "--help");
        run.Status.ShouldBe(0);
        foreach (string option in (string[])["--dma", "--format", "--mode", "--iotlb", "--invalidation", "--hostile", "--check", "--seed", "--rest", "--tolerance", "--strict-input", "--json", "--html"])
        {
            run.Out.Split('\n').Count(l => l.StartsWith($"  {option} ", StringComparison.Ordinal) || l.Trim() == option).ShouldBe(1, option);
        }

        run.Out.ShouldContain("Examples:");
        run.Out.ShouldContain("Exit status:");
        // A narrow column breaks a default in two.
        string words = string.Join(' ', run.Out.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        foreach (string @default in (string[])["the IOMMU's widest", "64x4", "strict", "sampled", "1ms", "recognised"])
        {
            words.Split($"[default: {@default}]").Length.ShouldBe(2, @default);
        }

        run.Out.Split('\n').ShouldAllBe(l => l.TrimEnd().Length <= 100);
    }

    [Fact]
    public void Without_a_command_the_program_shows_its_commands()
    {
        CliRun run = CliRun.Of();
        run.Status.ShouldBe(2);
        run.Out.ShouldContain("run");
        run.Out.ShouldContain("conform");
        CliRun.Of("--version").Out.Trim().ShouldMatch(@"^\d+\.\d+\.\d+");
    }

    [Fact]
    public void As_a_process_it_reads_a_pipe_and_writes_no_colour_and_no_progress()
    {
        (int status, string output, string error) = Process("run - --check all", Trace);
        error.ShouldBeEmpty();
        status.ShouldBe(0);
        output.ShouldNotContain('\u001b');
        output.ShouldStartWith("(standard input)");
        output.TrimEnd().ShouldEndWith("every check held");
        Process($"run {_folder.File("nowhere")}", "").Status.ShouldBe(2);
    }

    private static (int Status, string Out, string Error) Process(string arguments, string input)
    {
        ProcessStartInfo start = new("dotnet", $"\"{Path.Combine(AppContext.BaseDirectory, "ioasis.dll")}\" {arguments}")
        {
            UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        using Process process = System.Diagnostics.Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        return (process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    private static void Refused(CliRun run, string named)
    {
        run.Status.ShouldBe(2);
        run.Out.ShouldBeEmpty();
        run.Error.ShouldStartWith("ioasis: ");
        run.Error.ShouldContain(named);
        run.Error.ShouldNotContain("this should not have happened");
        run.Error.Trim().Split('\n').Length.ShouldBe(1);
    }
}
