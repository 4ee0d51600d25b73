using System.Text.RegularExpressions;
using Ioasis.Testing;

namespace Ioasis.Packages.Tests;

/// <summary>
/// A block of C# of a page of <c>docs/</c>, as a class that compiles. What a block uses and does not make stands before it as <c>&lt;!-- code: TYPE NAME, … --&gt;</c>. The program of a
/// tutorial is its only block, with the changes (<c>diff</c>) that follow it; it prints its last block of <c>text</c>.
/// </summary>
internal sealed partial record DocumentedCode(string Name, string Source, string? Prints)
{
    /// <summary>Namespaces that a reader's editor would add.</summary>
    public static IReadOnlyList<string> Namespaces { get; } =
    [
        "System.Runtime.InteropServices", "Ioasis.Client", "Ioasis.Core", "Ioasis.Devices", "Ioasis.Devices.Dsa", "Ioasis.Embedded", "Ioasis.Embedded.Sanitizing", "Ioasis.Examples",
        "Ioasis.Hardware", "Ioasis.Intel.Hardware", "Ioasis.Linux", "Ioasis.Platform", "Ioasis.Primitives", "Ioasis.Replay", "Ioasis.RiscV.Architecture", "Ioasis.RiscV.Hardware",
        "Ioasis.Testing", "Ioasis.Uapi",
    ];

    private const string FirstHowTo = "byte* buffer = ";

    /// <summary>The blocks of all pages.</summary>
    public static List<DocumentedCode> OfEveryPage()
    {
        string folder = Path.Combine(ExternalProgram.RepositoryRoot, "docs");
        List<DocumentedCode> blocks = [];
        foreach (string file in Directory.GetFiles(folder, "*.md", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            string text = File.ReadAllText(file);
            string page = Path.GetRelativePath(folder, file)[..^".md".Length].Replace('/', '_').Replace('-', '_');
            bool isTutorial = page.StartsWith("tutorials_", StringComparison.Ordinal);
            MatchCollection found = Code().Matches(text);
            for (int i = 0; i < found.Count; i++)
            {
                string code = found[i].Groups["code"].Value;
                string? prints = null;
                if (isTutorial)
                {
                    found.Count.ShouldBe(1, file);
                    code = Changes().Matches(text).Aggregate(code, (before, change) => Change(before, change.Groups["lines"].Value, file));
                    prints = Printed().Matches(text)[^1].Groups["lines"].Value.Trim();
                }
                else if (code.StartsWith(FirstHowTo, StringComparison.Ordinal))
                {
                    code += "Console.WriteLine($\"{(char)buffer[8]}{(char)buffer[12]} {fault.Cause} 0x{fault.Iova.Value:x}\");\n";
                    prints = "ho 15 0x10008";
                }

                string name = $"{page}_{i}";
                blocks.Add(new(name, Compilable(name, code, found[i].Groups["given"].Value), prints));
            }
        }

        return blocks;
    }

    // Directives stay in front, statements become a method, and the types behind them belong to its class.
    private static string Compilable(string name, string code, string given)
    {
        string directives = string.Concat(Directives().Matches(code).Select(static match => match.Value));
        code = Directives().Replace(code, "");
        int types = Types().Match(code) is { Success: true } match ? match.Index : code.Length;
        string signature = code.Contains("await ", StringComparison.Ordinal) ? "async Task" : "unsafe void";
        return $"{directives}internal static class {name}\n{{\npublic static {signature} Run({given})\n{{\n{code[..types]}}}\n{code[types..]}}}\n";
    }

    private static string Change(string code, string change, string file)
    {
        string[] lines = change.TrimEnd('\n').Split('\n');
        string before = Side('+');
        code.Split(before).Length.ShouldBe(2, $"{file}: a change is of lines that stand there once:\n{before}");
        return code.Replace(before, Side('-'), StringComparison.Ordinal);

        string Side(char other) => string.Concat(lines.Where(line => !line.StartsWith(other)).Select(static line => line[Math.Min(1, line.Length)..] + "\n"));
    }

    [GeneratedRegex(@"(<!-- code: (?<given>[^\n]*) -->\n)?```csharp\n(?<code>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Code();

    [GeneratedRegex(@"```diff\n(?<lines>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Changes();

    [GeneratedRegex(@"```text\n(?<lines>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Printed();

    [GeneratedRegex(@"^using [A-Za-z.]+;\n+", RegexOptions.Multiline, 1000)]
    private static partial Regex Directives();

    [GeneratedRegex(@"^(/// <summary>|sealed class |class )", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Types();
}
