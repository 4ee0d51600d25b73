using Ioasis.Mistakes;

try
{
    switch (args)
    {
        case ["copy", string list, string source, string destination]:
            List<string> errors = SourceCopy.Write(
                list, MistakeList.Parse(list).FindAll(static m => m.Tests.Count == 0), source, destination);
            errors.ForEach(Console.WriteLine);
            return errors.Count == 0 ? 0 : 1;
        case ["score", string name, string report, string baseline, string equivalents]:
            return Score.Compare(name, report, baseline, equivalents);
        case ["run", string root, string work, .. string[] rest]:
            string[] tests = [.. rest.Where(static r => r.StartsWith("tests=", StringComparison.Ordinal)).Select(static r => r[6..])];
            string[] names = [.. rest.Where(static r => !r.Contains('=', StringComparison.Ordinal))];
            string? project = names.Length == 0 ? null : ListOf(root, names[0]);
            return new KnownRun(Path.GetFullPath(root), Path.GetFullPath(work), tests).Run(project, project is null ? names : names[1..]);
        default:
            Console.Error.WriteLine("""
                usage: copy LIST SOURCE DESTINATION    writes SOURCE with the mistakes of LIST, each behind a switch
                       run ROOT WORK [PROJECT] [NAME…] [tests=TESTS[:METHOD]]  makes each and runs the tests that notice it
                       score PROJECT REPORT BASELINE EQUIVALENTS    what a report of Stryker says, beside the baseline
                """);
            return 2;
    }
}
catch (Exception e) when (e is FormatException or IOException)
{
    Console.WriteLine($"error MISTAKE: {e.Message}");
    return 1;
}

// "Core" and "Ioasis.Core" are both the list of Ioasis.Core; any other word is the name of a mistake.
static string? ListOf(string root, string word)
{
    string name = word.StartsWith("Ioasis.", StringComparison.Ordinal) ? word : "Ioasis." + word;
    return File.Exists(Path.Combine(root, "tests/Ioasis.Mistakes", name + ".md")) ? name
        : name == word ? throw new IOException($"There is no list tests/Ioasis.Mistakes/{word}.md.")
        : null;
}
