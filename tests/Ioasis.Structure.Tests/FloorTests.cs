namespace Ioasis.Structure.Tests;

/// <summary>The table of floors in docs/architecture.md, held against the project files and the compiled assemblies.</summary>
public sealed class FloorTests
{
    public static TheoryData<string> Projects { get; } = [.. Repository.SourceProjects()];

    [Fact]
    public void The_table_of_floors_lists_exactly_the_projects_under_src() =>
        Repository.Floors.Select(static floor => floor.Project).Order(StringComparer.Ordinal)
            .ShouldBe(Repository.SourceProjects());

    [Fact]
    public void Every_arrow_of_the_table_points_down()
    {
        Dictionary<string, int> numbers = Repository.Floors.ToDictionary(
            static floor => floor.Project, static floor => floor.Number, StringComparer.Ordinal);
        foreach (Repository.Floor floor in Repository.Floors)
        {
            foreach (string seen in floor.Sees)
            {
                numbers.ShouldContainKey(seen);
                numbers[seen].ShouldBeLessThan(floor.Number, $"{floor.Project} sees {seen}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_file_references_exactly_what_the_table_lets_it_see(string project) =>
        Repository.ProjectReferences(project).ShouldBe(
            Repository.Floors.Single(floor => string.Equals(floor.Project, project, StringComparison.Ordinal)).Sees,
            ignoreOrder: true);

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_compiled_assembly_uses_nothing_that_the_table_does_not_list(string project)
    {
        IReadOnlySet<string> sees =
            Repository.Floors.Single(floor => string.Equals(floor.Project, project, StringComparison.Ordinal)).Sees;
        Repository.AssemblyReferences(project)
            .Where(static name => name.StartsWith("Ioasis.", StringComparison.Ordinal))
            .ShouldAllBe(name => sees.Contains(name));
    }

    [Theory]
    [InlineData("Ioasis.RiscV.Driver", "Ioasis.RiscV.Hardware")]
    [InlineData("Ioasis.Intel.Driver", "Ioasis.Intel.Hardware")]
    [InlineData("Ioasis.Intel.Driver", "Ioasis.RiscV.Architecture")]
    [InlineData("Ioasis.RiscV.Hardware", "Ioasis.PageTables")]
    [InlineData("Ioasis.Core", "Ioasis.RiscV.Driver")]
    [InlineData("Ioasis.Core", "Ioasis.Processes")]
    [InlineData("Ioasis.Client", "Ioasis.Kernel")]
    [InlineData("Ioasis.Kernel", "Ioasis.Client")]
    [InlineData("Ioasis.Kernel", "Ioasis.RiscV.Driver")]
    public void Strangers_stay_strangers(string project, string stranger)
    {
        // Not through a reference, and not by name in the source either (reflection, strings).
        Repository.AssemblyReferences(project).ShouldNotContain(stranger);
        foreach (string file in Repository.SourceFiles(project))
        {
            File.ReadLines(file)
                .Where(static line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal)
                    && !line.Contains("InternalsVisibleTo", StringComparison.Ordinal))
                .ShouldNotContain(line => line.Contains(stranger + ".", StringComparison.Ordinal), file);
        }
    }
}
