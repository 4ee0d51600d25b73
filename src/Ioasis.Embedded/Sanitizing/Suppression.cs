using System.IO.Enumeration;

namespace Ioasis.Embedded.Sanitizing;

/// <summary>Reports that are wanted by nobody.</summary>
/// <param name="Mistake">Of this mistake; null for any.</param>
/// <param name="Pattern">With a device, a module or a source line like this, with <c>*</c> and <c>?</c>; null for any.</param>
public sealed record Suppression(DmaMistake? Mistake, string? Pattern)
{
    /// <summary>Reads a line, <c>MISTAKE[:PATTERN]</c> with <c>*</c> for any mistake.</summary>
    /// <returns>Null, or a sentence that says what is wrong.</returns>
    public static string? TryParse(string line, out Suppression? suppression)
    {
        ArgumentNullException.ThrowIfNull(line);
        suppression = null;
        string text = line.Trim();
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        string word = colon < 0 ? text : text[..colon];
        string? pattern = colon < 0 ? null : text[(colon + 1)..].Trim();
        if (word is not "*")
        {
            foreach (DmaMistake mistake in Enum.GetValues<DmaMistake>())
            {
                if (string.Equals(NameOf(mistake), word, StringComparison.OrdinalIgnoreCase))
                {
                    suppression = new(mistake, pattern);
                    return null;
                }
            }

            return $"'{word}' is no mistake: {string.Join(", ", Enum.GetValues<DmaMistake>().Select(NameOf))}, or * for all.";
        }

        suppression = new(null, pattern);
        return null;
    }

    /// <summary>A mistake as files of suppressions and JSON name it.</summary>
    public static string NameOf(DmaMistake mistake) => mistake switch
    {
        DmaMistake.AfterUnmap => "after-unmap",
        DmaMistake.FreedMemory => "freed-memory",
        DmaMistake.StaleTranslation => "stale-translation",
        DmaMistake.PastEnd => "past-end",
        DmaMistake.Direction => "direction",
        DmaMistake.NeverMapped => "never-mapped",
        DmaMistake.Overlap => "overlap",
        DmaMistake.NothingUnmapped => "nothing-unmapped",
        _ => "left-mapped",
    };

    /// <summary>Whether a report is one of those.</summary>
    public bool Matches(DmaReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        if (Mistake is { } mistake && mistake != report.Mistake)
        {
            return false;
        }

        return Pattern is null || Words(report).Any(word => FileSystemName.MatchesSimpleExpression(Pattern, word));
    }

    private static IEnumerable<string> Words(DmaReport report)
    {
        if (report.Device is { } device)
        {
            yield return device.ToString();
        }

        foreach (ProgramMoment moment in report.Moments)
        {
            foreach (ProgramFrame frame in moment.Stack)
            {
                if (frame.Module is { } module)
                {
                    yield return module;
                }

                if (frame.Source is { } source)
                {
                    yield return source;
                }
            }
        }
    }
}
