using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using PublicApiGenerator;

namespace Ioasis.Structure.Tests;

/// <summary>
/// What others can build on, as text in <c>packages/api</c>: a change of it is seen in review. <c>IOASIS_WRITE_API=1</c> writes the texts anew.
/// </summary>
public sealed class PublicApiTests
{
    /// <summary>The libraries; not the command, and not what is used from C.</summary>
    public static TheoryData<string> Libraries => [.. Repository.SourceProjects().Where(static project => project is not ("Ioasis.Cli" or "Ioasis.Native"))];

    [Theory]
    [MemberData(nameof(Libraries))]
    public void The_public_surface_is_the_one_that_was_agreed_on(string project)
    {
        string path = Path.Combine(Repository.Root, "packages", "api", project + ".txt");
        string surface = Assembly.LoadFrom(Repository.Assembly(project)).GeneratePublicApi(new() { IncludeAssemblyAttributes = false })
            .ReplaceLineEndings("\n") + "\n";
        if (string.Equals(Environment.GetEnvironmentVariable("IOASIS_WRITE_API"), "1", StringComparison.Ordinal))
        {
            File.WriteAllText(path, surface);
        }

        File.Exists(path).ShouldBeTrue($"{path} is missing: run this test with IOASIS_WRITE_API=1");
        File.ReadAllText(path).ReplaceLineEndings("\n").ShouldBe(
            surface, $"{path} is not up to date: run this test with IOASIS_WRITE_API=1, and look at the difference");
    }

    [Fact]
    public void Fewer_than_250_types_are_public_outside_of_the_ABI()
    {
        int types = 0;
        foreach (string project in Repository.SourceProjects().Where(static project => project is not ("Ioasis.Cli" or "Ioasis.Native" or "Ioasis.Uapi")))
        {
            using PEReader image = new(File.OpenRead(Repository.Assembly(project)));
            MetadataReader metadata = image.GetMetadataReader();
            types += metadata.TypeDefinitions.Count(handle =>
                (metadata.GetTypeDefinition(handle).Attributes & TypeAttributes.VisibilityMask) == TypeAttributes.Public);
        }

        types.ShouldBeInRange(1, 249, "a type is internal unless a user of the packages needs it (Directory.Build.targets says who sees internals)");
    }

    [Fact]
    public void No_text_is_left_of_a_library_that_is_gone() =>
        Directory.GetFiles(Path.Combine(Repository.Root, "packages", "api")).Select(Path.GetFileNameWithoutExtension)
            .ShouldBeSubsetOf(Repository.SourceProjects());
}
