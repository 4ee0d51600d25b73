namespace Ioasis.Packages.Tests;

/// <summary>The packages as a stranger sees them first.</summary>
public sealed class PackageTests(PackedFeed feed)
{
    [Fact]
    public void Every_package_says_what_it_is_and_carries_its_readme_and_icon()
    {
        feed.Packages.Count.ShouldBeGreaterThan(20);
        foreach (string package in feed.Packages)
        {
            IReadOnlyDictionary<string, string> metadata = PackedFeed.MetadataOf(package);
            string name = metadata["id"];
            metadata["description"].Length.ShouldBeGreaterThan(40, name);
            metadata["license"].ShouldBe("MIT", name);
            metadata["readme"].ShouldBe("README.md", name);
            metadata["icon"].ShouldBe("icon.png", name);
            metadata["tags"].ShouldContain("iommu", Case.Sensitive, name);
            PackedFeed.FilesOf(package).ShouldContain("README.md", name);
            PackedFeed.FilesOf(package).ShouldContain("icon.png", name);
        }

        feed.Packages.Select(static package => PackedFeed.MetadataOf(package)["description"]).ShouldBeUnique();
    }

    [Fact]
    public void Every_assembly_comes_with_its_documentation_and_its_symbols()
    {
        foreach (string package in feed.Packages)
        {
            IReadOnlyList<string> files = PackedFeed.FilesOf(package);
            string[] assemblies = [.. files.Where(static file => file.StartsWith("lib/", StringComparison.Ordinal) && file.EndsWith(".dll", StringComparison.Ordinal))];
            if (assemblies.Length == 0)
            {
                continue;
            }

            IReadOnlyList<string> symbols = PackedFeed.FilesOf(Path.ChangeExtension(package, ".snupkg"));
            foreach (string assembly in assemblies)
            {
                symbols.ShouldContain(Path.ChangeExtension(assembly, ".pdb"), package);
                files.ShouldContain(Path.ChangeExtension(assembly, ".xml"), package);
            }
        }
    }

    [Fact]
    public void One_reference_brings_what_the_author_of_a_driver_needs()
    {
        string package = feed.Packages.Single(package => PackedFeed.MetadataOf(package)["id"] == "Ioasis");
        PackedFeed.FilesOf(package).ShouldNotContain(static file => file.EndsWith(".dll", StringComparison.Ordinal));
        PackedFeed.MetadataOf(package).Keys.ShouldContain("dependencies");
    }

    [Fact]
    public void A_package_asks_for_exactly_the_version_of_our_others_that_it_was_built_with()
    {
        // They see each other's internals.
        int asked = 0;
        foreach (string package in feed.Packages)
        {
            string exact = $"[{PackedFeed.MetadataOf(package)["version"]}]";
            foreach ((string id, string version) in PackedFeed.DependenciesOf(package).Where(static dependency => dependency.Id.StartsWith("Ioasis", StringComparison.Ordinal)))
            {
                version.ShouldBe(exact, $"{Path.GetFileName(package)} on {id}");
                asked++;
            }
        }

        asked.ShouldBeGreaterThan(20);
    }
}
