using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Xml.Linq;

namespace Ioasis.Structure.Tests;

/// <summary>What the structure tests read: project files, compiled assemblies, and the table of floors.</summary>
internal static class Repository
{
    public sealed record Floor(int Number, string Project, IReadOnlySet<string> Sees);

    public static string Root { get; } = FindRoot();

    public static IReadOnlyList<Floor> Floors { get; } = ReadFloors();

    public static IEnumerable<string> SourceProjects() =>
        Directory.GetDirectories(Path.Combine(Root, "src")).Select(static path => Path.GetFileName(path)!).Order(StringComparer.Ordinal);

    public static IReadOnlySet<string> ProjectReferences(string project) =>
        XDocument.Load(Path.Combine(Root, "src", project, project + ".csproj"))
            .Descendants("ProjectReference")
            .Select(static reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value))
            .ToHashSet(StringComparer.Ordinal);

    /// <summary>Path of a project's assembly, of the configuration that these tests are of.</summary>
    public static string Assembly(string project)
    {
        string name = string.Equals(project, "Ioasis.Cli", StringComparison.Ordinal) ? "ioasis" : project;
        string configuration = Path.GetFileName(Path.GetDirectoryName(AppContext.BaseDirectory.TrimEnd('/'))!);
        return Path.Combine(Root, "src", project, "bin", configuration, "net10.0", name + ".dll");
    }

    public static IReadOnlySet<string> AssemblyReferences(string project)
    {
        using FileStream stream = File.OpenRead(Assembly(project));
        using PEReader image = new(stream);
        MetadataReader metadata = image.GetMetadataReader();
        return metadata.AssemblyReferences
            .Select(handle => metadata.GetString(metadata.GetAssemblyReference(handle).Name))
            .ToHashSet(StringComparer.Ordinal);
    }

    public static IEnumerable<string> SourceFiles(string project) =>
        Directory.EnumerateFiles(Path.Combine(Root, "src", project), "*.cs", SearchOption.AllDirectories)
            .Where(static path => !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal));

    private static string FindRoot()
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Ioasis.slnx")))
        {
            directory = directory.Parent;
        }

        return directory?.FullName ?? throw new InvalidOperationException("Ioasis.slnx is in no parent folder of the tests.");
    }

    private static List<Floor> ReadFloors()
    {
        string[] lines = File.ReadAllLines(Path.Combine(Root, "docs", "architecture.md"));
        int begin = Array.FindIndex(lines, static line => line.Contains("floors:begin", StringComparison.Ordinal));
        int end = Array.FindIndex(lines, static line => line.Contains("floors:end", StringComparison.Ordinal));
        List<Floor> floors = [];
        foreach (string line in lines[(begin + 3)..end])
        {
            string[] cells = line.Trim().Trim('|').Split('|', StringSplitOptions.TrimEntries);
            floors.Add(new(
                int.Parse(cells[0]),
                cells[1],
                cells[3].Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
                    .Select(static name => "Ioasis." + name)
                    .ToHashSet(StringComparer.Ordinal)));
        }

        return floors;
    }
}
