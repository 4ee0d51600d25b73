using System.Text;
using System.Text.RegularExpressions;

namespace Ioasis.Structure.Tests;

/// <summary>The pages: what a link leads to is there, and the site (<c>docs/build</c>) shows each of them.</summary>
public sealed partial class DocumentTests
{
    private static readonly string[] s_notOurs = [".git", "artifacts", "bin", "obj", "cache", "TestResults", "BenchmarkDotNet.Artifacts"];

    public static TheoryData<string> Pages { get; } = [.. MarkdownFiles(Repository.Root).Select(Relative).Order(StringComparer.Ordinal)];

    // A folder is no page: a site that hosts code shows it, the site of the documentation has nothing there.
    [Theory]
    [MemberData(nameof(Pages))]
    public void Every_link_leads_to_a_file_and_to_a_heading_that_it_has(string page)
    {
        string path = Path.Combine(Repository.Root, page);
        string text = Code().Replace(File.ReadAllText(path), "");
        foreach (string target in Links().Matches(text).Select(static match => match.Groups["target"].Value).Where(static target => !target.Contains(':', StringComparison.Ordinal)))
        {
            int hash = target.IndexOf('#', StringComparison.Ordinal);
            string file = hash == 0 ? path : Path.GetFullPath(Path.Combine(Path.GetDirectoryName(path)!, hash < 0 ? target : target[..hash]));
            File.Exists(file).ShouldBeTrue($"{page} links to {target}, where no file is");
            if (hash >= 0)
            {
                AnchorsOf(file).ShouldContain(target[(hash + 1)..], $"{page} links to {target}, but no heading there has that anchor");
            }
        }
    }

    [Fact]
    public void Every_page_of_docs_stands_in_the_table_of_contents_once()
    {
        string[] pages = [.. MarkdownFiles(Path.Combine(Repository.Root, "docs")).Select(Relative)];
        string folder = Path.Combine(Repository.Root, "docs", "contents");
        string[] listed = [.. TocPages().Matches(File.ReadAllText(Path.Combine(folder, "toc.yml"))).Select(match => Relative(Path.GetFullPath(Path.Combine(folder, match.Groups["page"].Value))))];
        pages.Length.ShouldBeGreaterThan(20);
        listed.ShouldBeUnique();
        listed.Where(static page => page.StartsWith("docs/", StringComparison.Ordinal)).ShouldBe(pages, ignoreOrder: true);
        listed.ShouldAllBe(static page => File.Exists(Path.Combine(Repository.Root, page)));
    }

    [Fact]
    public void Anchors_are_those_of_sites_that_host_code()
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, "# A `b_c`: d, e-f\n## [Two](x.md) 1.5 words\n```\n# no heading\n```\n## Twice\n## Twice\n");
            AnchorsOf(file).ShouldBe(["a-b_c-d-e-f", "two-15-words", "twice", "twice-1"]);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static string Relative(string path) => Path.GetRelativePath(Repository.Root, path);

    private static IEnumerable<string> MarkdownFiles(string folder) =>
        Directory.GetFiles(folder, "*.md").Concat(
            Directory.GetDirectories(folder).Where(static child => !s_notOurs.Contains(Path.GetFileName(child))).SelectMany(MarkdownFiles));

    private static List<string> AnchorsOf(string file)
    {
        List<string> anchors = [];
        foreach (Match heading in Headings().Matches(FencedCode().Replace(File.ReadAllText(file), "")))
        {
            StringBuilder anchor = new();
            foreach (char c in LinkText().Replace(heading.Groups["text"].Value.TrimEnd(), "${text}"))
            {
                _ = c == ' ' ? anchor.Append('-') : char.IsLetterOrDigit(c) || c is '-' or '_' ? anchor.Append(char.ToLowerInvariant(c)) : anchor;
            }

            string name = anchor.ToString();
            string unique = name;
            for (int i = 1; anchors.Contains(unique); i++)
            {
                unique = $"{name}-{i}";
            }

            anchors.Add(unique);
        }

        return anchors;
    }

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Links();

    [GeneratedRegex(@"^ *```.*?^ *```[^\n]*$|`[^`\n]+`", RegexOptions.Singleline | RegexOptions.Multiline, 10_000)]
    private static partial Regex Code();

    [GeneratedRegex(@"^ *```.*?^ *```[^\n]*$", RegexOptions.Singleline | RegexOptions.Multiline, 10_000)]
    private static partial Regex FencedCode();

    [GeneratedRegex(@"^#{1,6} (?<text>[^\n]+)$", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Headings();

    [GeneratedRegex(@"\[(?<text>[^\]]*)\]\([^)]*\)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex LinkText();

    [GeneratedRegex(@"^ *href: (?<page>\S+\.md)$", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex TocPages();
}
