using System.Diagnostics;
using System.Globalization;

namespace Ioasis.Mistakes;

/// <summary>
/// Makes each mistake of the lists, one at a time, and runs the test projects that its entry names: one of them must fail. All mistakes
/// of a project are in one build; what runs is the tests' own output folder with that one file in it exchanged.
/// </summary>
/// <param name="root">The repository.</param>
/// <param name="work">Where builds go; in the repository.</param>
/// <param name="others">Tests to run in place of those that an entry names; empty for its own.</param>
internal sealed class KnownRun(string root, string work, IReadOnlyList<string> others)
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);
    private int _noticed;
    private int _missed;

    /// <param name="project">Such as Ioasis.Core; null for all lists.</param>
    /// <param name="names">Only these mistakes; empty for all.</param>
    /// <returns>0 if every mistake was noticed.</returns>
    public int Run(string? project, IReadOnlyList<string> names)
    {
        foreach (string list in Directory.EnumerateFiles(Path.Combine(root, "tests/Ioasis.Mistakes"), "Ioasis.*.md").Order(StringComparer.Ordinal))
        {
            string name = Path.GetFileNameWithoutExtension(list);
            if (project is not null && name != project)
            {
                continue;
            }

            List<KnownMistake> all = MistakeList.Parse(list);
            List<KnownMistake> wanted = [.. all.Where(m => m.Tests.Count > 0 && (names.Count == 0 || names.Contains(m.Name)))];
            if (wanted.Count > 0)
            {
                RunList(list, name, wanted.FindAll(static m => !m.IsAlone), name);
                foreach (KnownMistake alone in wanted.FindAll(static m => m.IsAlone))
                {
                    RunList(list, name, [alone], name + "." + alone.Name);
                }
            }
        }

        if (_noticed + _missed == 0)
        {
            Console.WriteLine($"No mistake of {project ?? "any list"} is named {string.Join(", ", names)}.");
        }

        Console.WriteLine($"{_noticed} noticed, {_missed} not");
        return _missed == 0 && _noticed > 0 ? 0 : 1;
    }

    // Mistakes that change the same lines cannot be in one build.
    private void RunList(string list, string project, List<KnownMistake> mistakes, string folderName)
    {
        for (int part = 0; mistakes.Count > 0; part++)
        {
            string folder = Path.Combine(work, folderName + (part == 0 ? "" : part.ToString(CultureInfo.InvariantCulture)));
            List<KnownMistake> later = [];
            List<string> errors = SourceCopy.Write(list, mistakes, Path.Combine(root, "src", project), folder, later);
            errors.ForEach(Console.WriteLine);
            _missed += errors.Count;
            string? library = Build(project, folder);
            foreach (KnownMistake mistake in mistakes.Where(m => !later.Contains(m)))
            {
                bool noticed = library is not null && (others.Count > 0 ? others : mistake.Tests).Any(test => Notices(library, mistake.Name, test));
                (_noticed, _missed) = noticed ? (_noticed + 1, _missed) : (_noticed, _missed + 1);
                Console.WriteLine($"{(noticed ? "noticed " : "NOT NOTICED")} {project} {mistake.Name}: {mistake.Says}");
            }

            mistakes = later;
        }
    }

    private string? Build(string project, string folder)
    {
        string original = Path.Combine(root, "src", project);
        string text = File.ReadAllText(Path.Combine(original, project + ".csproj"))
            .Replace("Include=\"../", $"Include=\"{Path.Combine(root, "src")}/", StringComparison.Ordinal)
            .Replace(
                "</Project>",
                "<PropertyGroup><TreatWarningsAsErrors>false</TreatWarningsAsErrors><WarningLevel>0</WarningLevel><Nullable>annotations</Nullable>"
                + $"<RunAnalyzers>false</RunAnalyzers><PackageId>{project}.Mistaken</PackageId></PropertyGroup></Project>",
                StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, project + ".csproj"), text);
        foreach (string resource in Directory.EnumerateFiles(original, "*", SearchOption.AllDirectories)
            .Where(file => !file.EndsWith(".cs", StringComparison.Ordinal) && !file.EndsWith(".csproj", StringComparison.Ordinal)))
        {
            string relative = Path.GetRelativePath(original, resource);
            if (!relative.StartsWith("obj/", StringComparison.Ordinal) && !relative.StartsWith("bin/", StringComparison.Ordinal))
            {
                string copy = Path.Combine(folder, relative);
                _ = Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
                File.Copy(resource, copy, true);
            }
        }

        (int status, string output) = Start("dotnet", ["build", folder, "-c", "Release", "--nologo", "-v", "quiet"], null, TimeSpan.FromMinutes(10));
        if (status != 0)
        {
            Console.WriteLine(output);
            return null;
        }

        return Path.Combine(folder, "bin/Release/net10.0", project + ".dll");
    }

    // "Ioasis.Core.Tests" or "Ioasis.Core.Tests:*Method*".
    private bool Notices(string library, string mistake, string test)
    {
        string[] parts = test.Split(':');
        string own = Path.Combine(root, "tests", parts[0], "bin/Release/net10.0");
        string copy = Path.Combine(work, "run", parts[0]);
        if (!Directory.Exists(own))
        {
            throw new IOException($"{own} is not built.");
        }

        _ = Directory.CreateDirectory(copy);
        (int copied, _) = Start("cp", ["-ru", own + "/.", copy], null, TimeSpan.FromMinutes(2));
        string exchanged = Path.Combine(copy, Path.GetFileName(library));
        File.Delete(exchanged);
        File.Copy(library, exchanged);
        List<string> arguments = [Path.Combine(copy, parts[0] + ".dll"), "-noLogo", "-noColor", "-stopOnFail"];
        if (parts.Length > 1)
        {
            arguments.AddRange([parts[1].StartsWith('-') ? "-namespace-" : "-method", parts[1].TrimStart('-')]);
        }

        (int status, string output) = Start("dotnet", arguments, mistake, s_limit);
        string? failed = output.Split('\n').FirstOrDefault(static line => line.EndsWith("[FAIL]", StringComparison.Ordinal))?.Trim();
        if (failed is not null || status != 0)
        {
            Console.WriteLine($"    {failed ?? output.Split('\n')[0]}");
        }

        File.Delete(exchanged);
        bool ran = copied == 0 && (failed is not null || !output.Contains("Total: 0,", StringComparison.Ordinal));
        if (!ran)
        {
            Console.WriteLine($"{test} ran no test");
        }

        return ran && status != 0;
    }

    // A run beyond its limit is ended, and has noticed something.
    private static (int Status, string Output) Start(string program, IEnumerable<string> arguments, string? mistake, TimeSpan limit)
    {
        ProcessStartInfo start = new(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        if (mistake is not null)
        {
            start.Environment["IOASIS_MISTAKE"] = mistake;
        }

        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(limit))
        {
            process.Kill(entireProcessTree: true);
            return (-1, "beyond its limit of time");
        }

        return (process.ExitCode, output.Result + error.Result);
    }
}
