using System.Globalization;
using System.Text.Json;

namespace Ioasis.Mistakes;

/// <summary>One mutant of a report of Stryker.</summary>
/// <param name="File">The file's name, without folders.</param>
/// <param name="Mutator">What kind of change it is, in the tool's words.</param>
/// <param name="Original">The text of the product that changes; white space is one blank, as in the replacement.</param>
/// <param name="Replacement">What the mutant has in its place.</param>
/// <param name="Status">Survived, Killed and so on.</param>
/// <param name="Line">Where it starts, from 1.</param>
/// <param name="Column">Likewise.</param>
internal sealed record Mutant(string File, string Mutator, string Original, string Replacement, string Status, int Line, int Column)
{
    /// <param name="path">The file, in the report.</param>
    /// <param name="lines">Its lines.</param>
    /// <param name="element">The mutant, in the report.</param>
    public static Mutant Read(string path, string[] lines, JsonElement element)
    {
        JsonElement location = element.GetProperty("location");
        (int line, int column) = At(location.GetProperty("start"));
        (int lastLine, int end) = At(location.GetProperty("end"));
        string text = line == lastLine
            ? lines[line - 1][(column - 1)..(end - 1)]
            : string.Join('\n', [lines[line - 1][(column - 1)..], .. lines[line..(lastLine - 1)], lines[lastLine - 1][..(end - 1)]]);
        return new(
            Path.GetFileName(path),
            element.GetProperty("mutatorName").GetString()!,
            InOneLine(text),
            InOneLine(element.TryGetProperty("replacement", out JsonElement replacement) ? replacement.GetString()! : ""),
            element.GetProperty("status").GetString()!,
            line,
            column);
    }

    /// <summary>A text with one blank for each run of white space, and none around it.</summary>
    public static string InOneLine(string text) => string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    /// <summary>For people, with all that an entry of the equivalents needs.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{File}({Line},{Column}): {Status}: {Mutator}: {Original} → {Replacement}");

    private static (int Line, int Column) At(JsonElement place) => (place.GetProperty("line").GetInt32(), place.GetProperty("column").GetInt32());
}
