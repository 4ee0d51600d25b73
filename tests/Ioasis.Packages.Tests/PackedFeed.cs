using System.IO.Compression;
using System.Xml.Linq;
using Ioasis.Packages.Tests;
using Ioasis.Testing;

[assembly: AssemblyFixture(typeof(PackedFeed))]

namespace Ioasis.Packages.Tests;

/// <summary>What <c>./pack</c> makes, made once for all tests.</summary>
public sealed class PackedFeed
{
    /// <summary>Packs what is built.</summary>
    public PackedFeed()
    {
        ExternalProgram packed = ExternalProgram.Run("./pack", TimeSpan.FromMinutes(14), null, "--no-build", "--out", Folder);
        Assert.SkipWhen(packed.LacksSomething, packed.Describe());
        packed.Status.ShouldBe(0, packed.Describe());
        Packages = [.. Directory.GetFiles(Folder, "*.nupkg").Order(StringComparer.Ordinal)];
    }

    /// <summary>Where it is.</summary>
    public string Folder { get; } = Path.Combine(ExternalProgram.RepositoryRoot, "artifacts", "packages-tested");

    /// <summary>The packages.</summary>
    public IReadOnlyList<string> Packages { get; }

    /// <summary>The files of a package.</summary>
    public static IReadOnlyList<string> FilesOf(string package)
    {
        using ZipArchive archive = ZipFile.OpenRead(package);
        return [.. archive.Entries.Select(static entry => entry.FullName)];
    }

    /// <summary>What a package says of itself, by the names of the elements.</summary>
    public static IReadOnlyDictionary<string, string> MetadataOf(string package) =>
        DescriptionOf(package).Elements().ToDictionary(static element => element.Name.LocalName, static element => element.Value, StringComparer.Ordinal);

    /// <summary>The packages that a package asks for, with the range of versions.</summary>
    public static IReadOnlyList<(string Id, string Version)> DependenciesOf(string package) =>
    [
        .. DescriptionOf(package).Descendants().Where(static element => element.Name.LocalName == "dependency")
            .Select(static element => (element.Attribute("id")!.Value, element.Attribute("version")!.Value)),
    ];

    private static XElement DescriptionOf(string package)
    {
        using ZipArchive archive = ZipFile.OpenRead(package);
        using Stream stream = archive.Entries.Single(static entry => entry.FullName.EndsWith(".nuspec", StringComparison.Ordinal)).Open();
        return XDocument.Load(stream).Root!.Elements().First();
    }
}
