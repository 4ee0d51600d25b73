namespace Ioasis.Mistakes;

/// <summary>
/// A copy of a project's sources with mistakes in it, each behind a switch of its own that is off: one build serves all of them.
/// </summary>
internal static class SourceCopy
{
    /// <summary>In a list: whether the mistake is made.</summary>
    private const string Token = "MISTAKE";

    private const string Switch = """
        namespace Ioasis.Mistakes;

        /// <summary>The one mistake that is made; the same for all assemblies of the process.</summary>
        internal static class Mistake
        {
            private static readonly string?[] s_made = Shared();

            public static bool Is(string name) => System.Threading.Volatile.Read(ref s_made[0]) is { } made && made == name;

            private static string?[] Shared()
            {
                const string Key = "Ioasis.Mistake";
                if (System.AppContext.GetData(Key) is string?[] made)
                {
                    return made;
                }

                made = new string?[] { System.Environment.GetEnvironmentVariable("IOASIS_MISTAKE") };
                System.AppContext.SetData(Key, made);
                return made;
            }
        }
        """;

    /// <summary>Writes the copy; files that would not change are not touched.</summary>
    /// <param name="list">Where the mistakes stand, for messages.</param>
    /// <param name="mistakes">The mistakes.</param>
    /// <param name="source">The project.</param>
    /// <param name="destination">The copy.</param>
    /// <param name="later">Gets those that change lines that another changes; null if that is an error.</param>
    /// <returns>What is wrong with the list, for people; empty if nothing.</returns>
    public static List<string> Write(
        string list, IReadOnlyList<KnownMistake> mistakes, string source, string destination, List<KnownMistake>? later = null)
    {
        Dictionary<string, string> texts = [];
        List<string> errors = Make(list, mistakes, source, texts, later);
        foreach ((string file, string text) in texts)
        {
            WriteIfNew(Path.Combine(destination, file), text);
        }

        foreach (string old in Directory.EnumerateFiles(destination, "*.cs", SearchOption.AllDirectories))
        {
            string name = Path.GetRelativePath(destination, old);
            if (!texts.ContainsKey(name) && !name.StartsWith("obj/", StringComparison.Ordinal))
            {
                File.Delete(old);
            }
        }

        return errors;
    }

    /// <summary>What <see cref="Write"/> writes, without writing it.</summary>
    /// <param name="list">Where the mistakes stand, for messages.</param>
    /// <param name="mistakes">The mistakes.</param>
    /// <param name="source">The project.</param>
    /// <param name="copy">Gets the text of each file of the copy, by its path in the project.</param>
    /// <param name="later">Gets those that change lines that another changes; null if that is an error.</param>
    /// <returns>What is wrong with the list, for people; empty if nothing.</returns>
    public static List<string> Make(
        string list, IReadOnlyList<KnownMistake> mistakes, string source, Dictionary<string, string> copy, List<KnownMistake>? later = null)
    {
        List<string> errors = [];
        Dictionary<string, List<Edit>> edits = [];
        string[] files = [.. Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(source, file))
            .Where(static file => !file.StartsWith("obj/", StringComparison.Ordinal) && !file.StartsWith("bin/", StringComparison.Ordinal))];
        Dictionary<string, string[]> texts = files.ToDictionary(static file => file, file => File.ReadAllLines(Path.Combine(source, file)));
        foreach (KnownMistake mistake in mistakes)
        {
            List<(string File, Edit Edit)> own = [];
            string? other = null;
            bool hasPlace = true;
            foreach (Change change in mistake.Changes)
            {
                string? file = Array.Find(files, f => Path.GetFileName(f) == change.File);
                List<(int Start, int Length)> places = file is null ? [] : Find(texts[file], change);
                if (places.Count != 1)
                {
                    string found = file is null ? $"there is no {change.File}" : $"{places.Count} places in {file} have its lines";
                    errors.Add($"{list}({change.Line}): error MISTAKE: '{mistake.Name}' has no place: {found}. Write it for the code as it is now, or delete it if it cannot be made any more.");
                    hasPlace = false;
                    continue;
                }

                (int start, int length) = places[0];
                other ??= edits.GetValueOrDefault(file!, []).Find(e => e.Start < start + length && start < e.Start + e.Length)?.Name;
                own.Add((file!, new(mistake.Name, start, length, mistake.IsAlone ? change.Wrong : Switched(mistake.Name, change))));
            }

            if (other is not null && later is null)
            {
                errors.Add($"{list}({mistake.Changes[0].Line}): error MISTAKE: '{mistake.Name}' changes the same lines as '{other}'.");
            }
            else if (other is not null)
            {
                later!.Add(mistake);
            }
            else if (hasPlace)
            {
                own.ForEach(change => (edits.TryGetValue(change.File, out List<Edit>? known) ? known : edits[change.File] = []).Add(change.Edit));
            }
        }

        foreach (string file in files)
        {
            List<string> lines = [.. texts[file]];
            foreach (Edit edit in edits.GetValueOrDefault(file, []).OrderByDescending(static e => e.Start))
            {
                lines.RemoveRange(edit.Start, edit.Length);
                lines.InsertRange(edit.Start, edit.Lines);
            }

            copy[file] = string.Join('\n', lines) + "\n";
        }

        copy["Mistake.g.cs"] = Switch;
        return errors;
    }

    private static IEnumerable<string> Switched(string name, Change change)
    {
        string asked = $"global::Ioasis.Mistakes.Mistake.Is(\"{name}\")";
        return Array.Exists(change.Wrong, static line => line.Contains(Token, StringComparison.Ordinal))
            ? change.Wrong.Select(line => line.Replace(Token, asked, StringComparison.Ordinal))
            : change.Right.Length == 0
                ? [$"if ({asked}) {{", .. change.Wrong, "}"]
                : [$"if ({asked}) {{", .. change.Wrong, "} else {", .. change.Right, "}"];
    }

    // Neither indentation nor empty lines count, so that a list stays readable.
    private static List<(int Start, int Length)> Find(string[] text, Change change)
    {
        int[] full = [.. Enumerable.Range(0, text.Length).Where(i => !string.IsNullOrWhiteSpace(text[i]))];
        string[] before = Trimmed(change.Before);
        string[] right = Trimmed(change.Right);
        string[] wanted = [.. before, .. right, .. Trimmed(change.After)];
        List<(int Start, int Length)> places = [];
        for (int at = 0; at + wanted.Length <= full.Length; at++)
        {
            int first = at;
            if (!wanted.Where((line, i) => text[full[first + i]].Trim() != line).Any())
            {
                int start = before.Length > 0 && right.Length == 0 ? full[at + before.Length - 1] + 1 : full[at + before.Length];
                places.Add((start, right.Length == 0 ? 0 : full[at + before.Length + right.Length - 1] + 1 - start));
            }
        }

        return places;
    }

    private static string[] Trimmed(string[] lines) => [.. lines.Select(static l => l.Trim()).Where(static l => l.Length > 0)];

    private static void WriteIfNew(string path, string text)
    {
        if (!File.Exists(path) || File.ReadAllText(path) != text)
        {
            _ = Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, text);
        }
    }

    private sealed record Edit(string Name, int Start, int Length, IEnumerable<string> Lines);
}
