using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>What docs/foreign-programs.md shows is run.</summary>
public sealed class DocumentTests
{
    [Fact]
    public void Every_command_of_the_document_does_what_it_says()
    {
        string[] lines = File.ReadAllLines(Path.Combine(ExternalProgram.RepositoryRoot, "docs", "foreign-programs.md"));
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
