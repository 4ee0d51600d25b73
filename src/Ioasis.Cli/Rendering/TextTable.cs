using System.Text;

namespace Ioasis.Cli.Rendering;

/// <summary>An aligned table of plain text: the first column to the left, the others to the right unless told.</summary>
internal sealed class TextTable
{
    private const string Indent = "  ";
    private readonly string[] _headers;
    private readonly bool[] _left;
    private readonly List<string[]> _rows = [];

    /// <summary>Makes a table; a header that starts with <c>&lt;</c> is of a column aligned to the left.</summary>
    public TextTable(params string[] headers)
    {
        _left = [.. headers.Select((h, i) => i == 0 || h.StartsWith('<'))];
        _headers = [.. headers.Select(h => h.TrimStart('<'))];
    }

    /// <summary>Rows so far.</summary>
    public int Count => _rows.Count;

    /// <summary>Adds a row; missing cells at its end are empty.</summary>
    public void Add(params string[] cells) => _rows.Add(cells);

    /// <summary>Lines without an end, no spaces at their ends.</summary>
    public IEnumerable<string> Lines(bool headers = true)
    {
        int[] widths = [.. _headers.Select((h, i) =>
            Math.Max(headers ? h.Length : 0, _rows.Count == 0 ? 0 : _rows.Max(r => i < r.Length ? r[i].Length : 0)))];
        if (headers)
        {
            yield return Line(_headers, widths);
        }

        foreach (string[] row in _rows)
        {
            yield return Line(row, widths);
        }
    }

    private string Line(string[] cells, int[] widths)
    {
        StringBuilder line = new();
        for (int i = 0; i < cells.Length; i++)
        {
            line.Append(Indent).Append(_left[i] ? cells[i].PadRight(widths[i]) : cells[i].PadLeft(widths[i]));
        }

        return line.ToString().TrimEnd();
    }
}
