using Ioasis.Testing;
using System.Text.Json;
using Ioasis.Embedded.Sanitizing;

namespace Ioasis.Exec.Tests;

/// <summary>Programs with one mistake each, and programs without: every mistake is found and its line named, and nobody else is accused.</summary>
public sealed class SanitizerTests
{
    private const int Found = 99;

    public static TheoryData<string, string> Mistakes => new()
    {
        { "written_after_unmap", "after-unmap" },
        { "read_after_unmap", "after-unmap" },
        { "used_after_another_map", "after-unmap" },
        { "never_mapped_write", "never-mapped" },
        { "never_mapped_read", "never-mapped" },
        { "upper_half_lost", "never-mapped" },
        { "a_page_too_far", "past-end" },
        { "across_the_end", "past-end" },
        { "read_past_the_end", "past-end" },
        { "against_the_direction", "direction" },
        { "against_the_direction_by_group", "direction" },
        { "freed_and_written", "freed-memory" },
        { "freed_and_read", "freed-memory" },
        { "replaced", "freed-memory" },
        { "left_mapped", "left-mapped" },
        { "left_mapped_by_group", "left-mapped" },
        { "mapped_over_another", "overlap" },
        { "the_same_memory_twice", "overlap" },
        { "unmapped_elsewhere", "nothing-unmapped" },
        { "unmapped_twice", "nothing-unmapped" },
    };

    private static string Mistaken => Programs.Build("mistakes.c", "-g");

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_mistake_is_found_and_its_line_named(string program, string mistake)
    {
        ExecRun run = Programs.ExecuteOn(["--device", "edu", "--sanitize"], Mistaken, program);
        run.ShouldEnd(Found);
        JsonElement[] reports = [.. run.Summary!.Value.GetProperty("mistakes").EnumerateArray()];
        reports.Select(static report => report.GetProperty("mistake").GetString()).Distinct().ShouldBe([mistake], run.Ended.Errors);
        run.Ended.Errors.ShouldContain($"{mistake} {reports.Length}");
        if (LineOf(program) is { } line)
        {
            reports[0].GetRawText().ShouldContain($"{program} at mistakes.c:{line}", customMessage: run.Ended.Errors);
        }

        if (mistake is "after-unmap" or "never-mapped" or "past-end" or "direction")
        {
            reports[0].GetProperty("device").GetString().ShouldBe("0000:00:01.0");
            reports[0].GetProperty("access").GetString().ShouldBe(program.Contains("read", StringComparison.Ordinal) ? "read" : "write");
        }
    }

    [Theory]
    [InlineData("riscv", "moved")]
    [InlineData("riscv", "taken")]
    [InlineData("riscv", "other")]
    [InlineData("vtd", "moved")]
    [InlineData("vtd", "taken")]
    [InlineData("vtd", "other")]
    public void A_stale_translation_is_told_with_what_the_program_mapped_there(string kind, string program)
    {
        ExecRun run = Programs.ExecuteOn(["--iommu", kind, "--device", "edu", "--sanitize"], Programs.Build("nested.c", "-g"), kind, program);
        run.ShouldEnd(Found).Ended.Output.ShouldBe("nested\n");
        JsonElement report = run.Summary!.Value.GetProperty("mistakes").EnumerateArray().ShouldHaveSingleItem();
        report.GetProperty("mistake").GetString().ShouldBe("stale-translation", run.Ended.Errors);
        report.GetProperty("device").GetString().ShouldBe("0000:00:01.0");
        report.GetProperty("access").GetString().ShouldBe("write");
        report.GetProperty("iova").GetString().ShouldBe("0x5000");
        ulong memory = Address(report.GetProperty("mapping"), "memory");
        Address(report, "reached").ShouldBe(memory + (8 * 4096));
        if (program is "taken")
        {
            report.GetProperty("current").ValueKind.ShouldBe(JsonValueKind.Null);
        }
        else
        {
            Address(report, "current").ShouldBe(memory + (9 * 4096));
        }

        run.Ended.Errors.ShouldContain("map_the_guest at nested.c:");
    }

    [Theory]
    [InlineData("riscv")]
    [InlineData("vtd")]
    public void Who_has_forgotten_what_it_changed_is_not_accused(string kind) =>
        Programs.ExecuteOn(["--iommu", kind, "--device", "edu", "--sanitize"], Programs.Build("nested.c", "-g"), kind, "careful").ShouldEnd(0)
            .Ended.Output.ShouldBe("nested\n");

    [Fact]
    public void Careful_programs_are_not_accused()
    {
        ExecRun run = Programs.ExecuteOn(["--device", "edu", "--sanitize"], Programs.Build("careful.c", "-g"));
        run.ShouldEnd(0).Ended.Output.ShouldBe("careful\n");
        run.Summary!.Value.GetProperty("mistakes").GetArrayLength().ShouldBe(0, run.Ended.Errors);
        run.Ended.Errors.ShouldBeEmpty();
    }

    [Fact]
    public void A_mistake_that_is_suppressed_is_none()
    {
        string file = Path.Combine(Programs.Sources, "suppressions.txt");
        File.WriteAllText(file, "# known\nleft-mapped\nafter-unmap:*mistakes.c:*\n");
        Programs.ExecuteOn(["--device", "edu", "--sanitize", "--suppress", file], Mistaken, "written_after_unmap").ShouldEnd(0);
        Programs.ExecuteOn(["--device", "edu", "--sanitize", "--suppress", file, "--mistake-status", "7"], Mistaken, "never_mapped_write").ShouldEnd(7);
    }

    [Fact]
    public void A_fatal_mistake_ends_the_program()
    {
        ExecRun run = Programs.ExecuteOn(["--device", "edu", "--sanitize", "--fatal"], "sh", "-c", $"{Mistaken} written_after_unmap; echo survived; sleep 60");
        run.Ended.Status.ShouldBe(Found, run.Ended.Describe());
        run.Ended.Output.ShouldBeEmpty();
    }

    [Theory]
    [InlineData("afterunmap", "'afterunmap' is no mistake: after-unmap, freed-memory")]
    [InlineData("*:0000:00:01.0", null)]
    [InlineData("overlap", null)]
    public void A_line_of_suppressions_is_read_or_refused(string line, string? words)
    {
        string? problem = Suppression.TryParse(line, out Suppression? suppression);
        if (words is null)
        {
            problem.ShouldBeNull();
            suppression.ShouldNotBeNull();
        }
        else
        {
            problem.ShouldNotBeNull().ShouldContain(words);
        }
    }

    private static ulong Address(JsonElement element, string name) =>
        Convert.ToUInt64(element.GetProperty(name).GetString(), 16);

    // The line with the comment, in the function of that name.
    private static int? LineOf(string program)
    {
        string[] lines = File.ReadAllLines(Path.Combine(Programs.Sources, "mistakes.c"));
        int start = Array.FindIndex(lines, line => line.StartsWith($"static void {program}(void)", StringComparison.Ordinal));
        int end = Array.FindIndex(lines, start, static line => line.EndsWith('}'));
        int marked = Array.FindIndex(lines, start, end - start + 1, static line => line.Contains("the mistake", StringComparison.Ordinal));
        return marked < 0 ? null : marked + 1;
    }
}
