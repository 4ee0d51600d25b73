using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>What docs/foreign-programs.md shows is run.</summary>
public sealed class DocumentTests
{
    // The steps of the job, one after the other, in a folder as the job has it: both repositories beside each other. The driver's is the example's.
    [Fact]
    public void Every_step_of_the_job_for_GitHub_Actions_that_runs_something_runs()
    {
        string folder = Directory.CreateTempSubdirectory("ioasis-job-").FullName;
        try
        {
            string driver = Path.Combine(folder, "driver");
            _ = Directory.CreateDirectory(driver);
            foreach (string file in Directory.GetFiles(Path.Combine(ExternalProgram.RepositoryRoot, "examples", "foreign-driver")))
            {
                File.Copy(file, Path.Combine(driver, Path.GetFileName(file)));
            }

            string[] steps = [.. Document()
                .SkipWhile(static line => line is not "```yaml")
                .TakeWhile(static line => line is not "```")
                .Select(static line => line.Trim())
                .Where(static line => line.StartsWith(RunStep, StringComparison.Ordinal))
                .Select(static line => line[RunStep.Length..])];
            steps.Length.ShouldBeGreaterThanOrEqualTo(2);
            string script = "set -euo pipefail\ncd " + folder + "\n" + string.Join('\n', steps)
                .Replace("ioasis/ioasis", $"dotnet {ExternalProgram.IoasisCommand}", StringComparison.Ordinal);
            ExternalProgram run = ExternalProgram.Run("bash", TimeSpan.FromMinutes(5), null, "-c", script);
            run.Status.ShouldBe(0, run.Describe());
            run.Output.ShouldContain("edu 10000ed says hello");
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    private const string RunStep = "- run: ";

    private static string[] Document() => File.ReadAllLines(Path.Combine(ExternalProgram.RepositoryRoot, "docs", "foreign-programs.md"));

    [Fact]
    public void Every_command_of_the_document_does_what_it_says()
    {
        string[] lines = Document();
        List<string> commands = [];
        bool inside = false;
        foreach (string line in lines)
        {
            if (line.StartsWith("```", StringComparison.Ordinal))
            {
                inside = line is "```sh";
            }
            else if (inside)
            {
                commands.Add(line);
            }
        }

        commands.Count.ShouldBeGreaterThan(4);
        _ = Directory.CreateDirectory(Path.Combine(ExternalProgram.RepositoryRoot, "artifacts"));
        string script = "set -euo pipefail\n" + string.Join('\n', commands).Replace("./ioasis", $"dotnet {ExternalProgram.IoasisCommand}", StringComparison.Ordinal);
        ExternalProgram run = ExternalProgram.Run("bash", TimeSpan.FromMinutes(2), null, "-c", script);
        run.Status.ShouldBe(0, run.Describe());
        run.Output.ShouldContain("edu 10000ed says hello");
        run.Output.ShouldContain("0000:00:01.0 -> ../../../devices/pci0000:00/0000:00:01.0");
        run.Output.ShouldEndWith("0x1234\n0x1234\n");
    }
}
