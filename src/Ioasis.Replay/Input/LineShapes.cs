using System.Globalization;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Input;

/// <summary>
/// Says of lines that are no events what they look like, so that somebody whose recording is not understood learns what it
/// is instead and what to do.
/// </summary>
internal sealed class LineShapes
{
    private static readonly string[] Words =
    [
        "is text of no known kind",
        "looks like perf script without what its events say: add `trace` to -F",
        "looks like perf trace: record with perf record and print with perf script",
        "looks like the function tracers' output: switch on the events iommu:map and iommu:unmap instead",
        "has the layout of an event with fields that are not understood",
        "looks like the kernel's log",
        "looks like a message of QEMU",
        "looks like JSON",
        "looks like a table with separators",
    ];

    private readonly long[] _counts = new long[Words.Length];
    private readonly LineCutter _cutter = new();

    /// <summary>Lines by what they look like, most frequent first.</summary>
    public IReadOnlyList<(string Description, long Count)> All
    {
        get
        {
            List<(string, long)> result = [];
            for (int i = 0; i < Words.Length; i++)
            {
                if (_counts[i] > 0)
                {
                    result.Add((Words[i], _counts[i]));
                }
            }

            result.Sort(static (a, b) => b.Item2.CompareTo(a.Item2));
            return result;
        }
    }

    /// <summary>Notes a line.</summary>
    public void Add(ReadOnlySpan<byte> line)
    {
        line = line.Trim(" \t"u8);
        if (!line.IsEmpty)
        {
            _counts[(int)ShapeOf(line)]++;
        }
    }

    /// <summary>Says it in a sentence: <c>41 lines look like perf script without …</c>.</summary>
    public string Describe()
    {
        List<string> parts = [];
        foreach ((string description, long count) in All)
        {
            string number = count.ToString("#,0", CultureInfo.InvariantCulture);
            parts.Add(count == 1
                ? $"{number} line {description}"
                : $"{number} lines {Plural(description)}");
        }

        return string.Join("; ", parts);
    }

    private static string Plural(string description)
    {
        int space = description.IndexOf(' ', StringComparison.Ordinal);
        string verb = description[..space];
        return (verb switch { "is" => "are", "has" => "have", "looks" => "look", _ => verb }) + description[space..];
    }

    private Shape ShapeOf(ReadOnlySpan<byte> line)
    {
        KernelEvent e = default;
        if (line[0] is (byte)'{' or (byte)'[' && line[^1] is (byte)'}' or (byte)',' or (byte)'{')
        {
            return Shape.Json;
        }

        if (_cutter.TryCut(line, ref e) && e.Form != LineForm.Bare)
        {
            return e.HasGroup && e.Fields.IsEmpty ? Shape.PerfWithoutFields : Shape.OddFields;
        }

        // perf trace: 0.000 dd/123 iommu:map(iova: …)
        int open = line.IndexOf((byte)'(');
        if (open > 0 && line[^1] == (byte)')' && line[..open].IndexOf((byte)':') > 0 && char.IsAsciiDigit((char)line[0]))
        {
            return Shape.PerfTrace;
        }

        // function_graph: 0)   1.234 us    |  iommu_map();  function: comm-pid [000] ..... 1.0: iommu_map <-__iommu_dma_map
        if (line.IndexOf("|"u8) > 0 && (line.IndexOf("()"u8) > 0 || line.IndexOf(" us "u8) > 0) || line.IndexOf(" <-"u8) > 0)
        {
            return Shape.Functions;
        }

        if (line.IndexOf("qemu-system-"u8) >= 0 || (DmaLogs.DmaLogLine.TryTime(line, out _, out _) && line.IndexOf("qemu"u8) >= 0))
        {
            return Shape.Qemu;
        }

        TextCursor log = new(line);
        if (log.SkipPast("["u8))
        {
            log.SkipSpaces();
            if (log.TrySeconds(out _) && log.Skip("]"u8))
            {
                return Shape.KernelLog;
            }
        }

        return line.Count((byte)',') >= 3 || line.Count((byte)'\t') >= 3 || line.Count((byte)';') >= 3 ? Shape.Table : Shape.Text;
    }

    private enum Shape
    {
        Text,
        PerfWithoutFields,
        PerfTrace,
        Functions,
        OddFields,
        KernelLog,
        Qemu,
        Json,
        Table,
    }
}
