namespace Ioasis.Structure.Tests;

/// <summary>Habits that a compiler does not enforce.</summary>
public sealed class SourceTests
{
    public static TheoryData<string> Projects { get; } = [.. Repository.SourceProjects()];

    [Theory]
    [MemberData(nameof(Projects))]
    public void No_shipped_source_is_left_unfinished(string project)
    {
        string[] marks = ["TO" + "DO", "FIX" + "ME", "NotImplemented" + "Exception"];
        foreach (string file in Repository.SourceFiles(project))
        {
            string text = File.ReadAllText(file);
            foreach (string mark in marks)
            {
                text.ShouldNotContain(mark, Case.Sensitive, file);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_shipped_project_has_code(string project) => Repository.SourceFiles(project).ShouldNotBeEmpty();

    [Fact]
    public void Tests_that_are_skipped_say_why()
    {
        foreach (string file in Directory.EnumerateFiles(Path.Combine(Repository.Root, "tests"), "*.cs", SearchOption.AllDirectories))
        {
            if (file.Contains("/obj/", StringComparison.Ordinal) || file.Contains("/bin/", StringComparison.Ordinal))
            {
                continue;
            }

            File.ReadLines(file).ShouldNotContain(
                static line => line.Contains("Skip = \"\"", StringComparison.Ordinal), file);
        }
    }
}
