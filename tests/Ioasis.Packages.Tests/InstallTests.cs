using System.Text.RegularExpressions;
using Ioasis.Testing;

namespace Ioasis.Packages.Tests;

/// <summary>What a new user does, in an empty folder with the packed feed as the only source.</summary>
public sealed partial class InstallTests : IDisposable
{
    // Beside the project's folder: what is in that is compiled.
    private const string RestoredSuffix = "-restored";

    private readonly PackedFeed _feed;
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-packages-").FullName;
    private readonly Dictionary<string, string> _environment;

    public InstallTests(PackedFeed feed)
    {
        _feed = feed;
        Write("nuget.config", $"<configuration><packageSources><clear /><add key=\"packed\" value=\"{feed.Folder}\" /></packageSources></configuration>");
        _environment = new(StringComparer.Ordinal) { ["NUGET_PACKAGES"] = Path.Combine(_folder, "packages"), ["DOTNET_CLI_HOME"] = _folder };
    }

    public void Dispose()
    {
        Directory.Delete(_folder, recursive: true);
        if (Directory.Exists(_folder + RestoredSuffix))
        {
            Directory.Delete(_folder + RestoredSuffix, recursive: true);
        }
    }

    [Fact]
    public void The_readme_of_the_packages_is_a_program_that_runs_with_one_reference()
    {
        string readme = File.ReadAllText(Path.Combine(ExternalProgram.RepositoryRoot, "packages", "README.md"));
        RunProgram(CodeBlocks().Match(readme).Groups["code"].Value).ShouldBe("True");
    }

    [Fact]
    public void The_code_of_every_page_compiles_and_the_first_how_to_and_the_tutorials_print_what_they_say()
    {
        List<DocumentedCode> blocks = DocumentedCode.OfEveryPage();
        blocks.Count.ShouldBeGreaterThan(15);
        foreach (DocumentedCode block in blocks)
        {
            Write(block.Name + ".cs", block.Source);
        }

        DocumentedCode[] programs = [.. blocks.Where(static block => block.Prints is not null)];
        programs.Length.ShouldBeGreaterThanOrEqualTo(4);
        Write("Usings.cs", string.Concat(DocumentedCode.Namespaces.Select(static name => $"global using {name};\n")));
        string examples = Path.Combine(ExternalProgram.RepositoryRoot, "examples", "EduDriver");
        foreach (string file in Directory.GetFiles(examples, "*.cs"))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)));
        }

        BuildProgram(
            string.Concat(programs.Select(static block => $"if (args[0] == \"{block.Name}\") {{ {block.Name}.Run(); }}\n")),
            ["Ioasis", "Ioasis.Replay", "Ioasis.Testing"]);
        foreach (DocumentedCode block in programs)
        {
            Run("dotnet", Path.Combine(_folder, "out", "scratch.dll"), block.Name).Trim().ShouldBe(block.Prints, block.Name);
        }
    }

    [Fact]
    public void The_tool_installs_and_replays_a_recording_and_runs_a_program()
    {
        string tools = Path.Combine(_folder, "tools");
        Run("dotnet", "tool", "install", "Ioasis.Tool", "--tool-path", tools, "--configfile", Path.Combine(_folder, "nuget.config"));
        string tool = Path.Combine(tools, "ioasis");
        Run(tool, "run", Path.Combine(ExternalProgram.RepositoryRoot, "examples", "traces", "x86-disk.ftrace.txt")).TrimEnd().ShouldEndWith("every check held");
        Run(tool, "exec", "--device", "edu", "--", "ls", "/dev/vfio").ShouldContain("vfio");
    }

    [Fact]
    public void The_archive_has_the_command_the_library_and_a_man_page_that_names_every_command()
    {
        string archive = Directory.GetFiles(_feed.Folder, "ioasis-*-linux-*.tar.gz").Single();
        Run("tar", "-xzf", archive, "-C", _folder);
        string tree = Path.Combine(_folder, Path.GetFileName(archive)[..^".tar.gz".Length]);
        string help = Run(Path.Combine(tree, "bin", "ioasis"), "--help");
        string[] commands = [.. Commands().Matches(help[help.IndexOf("Commands:", StringComparison.Ordinal)..]).Select(static match => match.Groups["name"].Value)];
        commands.ShouldContain("run");
        string page = File.ReadAllText(Path.Combine(tree, "share", "man", "man1", "ioasis.1"));
        foreach (string command in commands)
        {
            page.ShouldContain($"\n.B {command}\n");
        }

        // The place of the archive is nowhere in it: the library is found from where it was unpacked to.
        Write("main.c", "#include <ioasis.h>\nint main(void) { return ioasis_version() != IOASIS_VERSION; }\n");
        string program = Path.Combine(_folder, "main");
        string library = Path.Combine(tree, "lib");
        Run("gcc", Path.Combine(_folder, "main.c"), "-I" + Path.Combine(tree, "include"), "-L" + library, "-Wl,-rpath," + library, "-o", program, "-lioasis");
        Run(program);
        File.ReadAllText(Path.Combine(library, "pkgconfig", "ioasis.pc")).ShouldStartWith("prefix=${pcfiledir}/../..");
    }

    private string RunProgram(string code)
    {
        BuildProgram(code, ["Ioasis"]);
        return Run("dotnet", Path.Combine(_folder, "out", "scratch.dll")).Trim();
    }

    private void BuildProgram(string code, string[] packages)
    {
        Write("Program.cs", code);

        string restored = RestoredPackages();
        string version = PackedFeed.MetadataOf(_feed.Packages.Single(static package => PackedFeed.MetadataOf(package)["id"] == "Ioasis"))["version"];
        Write(
            "scratch.csproj",
            $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>annotations</Nullable>
                <AllowUnsafeBlocks>true</AllowUnsafeBlocks>
                <RestoreFallbackFolders>{restored}</RestoreFallbackFolders>
              </PropertyGroup>
              <ItemGroup>
                <RuntimeHostConfigurationOption Include="Ioasis.Injection" Value="true" />
                {string.Join("\n    ", packages.Select(package => $"<PackageReference Include=\"{package}\" Version=\"{version}\" />"))}
              </ItemGroup>
            </Project>
            """);
        Run("dotnet", "build", Path.Combine(_folder, "scratch.csproj"), "--nologo", "-v", "quiet", "-o", Path.Combine(_folder, "out"));
    }

    // What was restored for the repository stands in for the public feed; our own packages come from the folder alone, though older ones of
    // the same version may have been restored too.
    private string RestoredPackages()
    {
        string restored = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        string others = Directory.CreateDirectory(_folder + RestoredSuffix).FullName;
        foreach (string package in Directory.GetDirectories(restored))
        {
            string name = Path.GetFileName(package);
            if (name is not "ioasis" && !name.StartsWith("ioasis.", StringComparison.Ordinal))
            {
                _ = Directory.CreateSymbolicLink(Path.Combine(others, name), package);
            }
        }

        return others;
    }

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(_folder, name), text);

    private string Run(string program, params string[] arguments)
    {
        ExternalProgram ended = ExternalProgram.Run(program, TimeSpan.FromMinutes(10), _environment, arguments);
        ended.Status.ShouldBe(0, $"{program} {string.Join(' ', arguments)}: {ended.Describe()}");
        return ended.Output;
    }

    [GeneratedRegex(@"```csharp\n(?<code>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex CodeBlocks();

    [GeneratedRegex(@"^  (?<name>[a-z]+) ", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Commands();
}
