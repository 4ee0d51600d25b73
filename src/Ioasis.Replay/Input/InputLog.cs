namespace Ioasis.Replay.Input;

/// <summary>One line that a report shows.</summary>
/// <param name="Line">Its number, from 1.</param>
/// <param name="Text">The line, cut to 200 characters, control characters replaced.</param>
internal sealed record ListedLine(long Line, string Text);

/// <summary>What was met while one file was read: sizes, counts of events, lines that did not parse, losses.</summary>
internal sealed class InputLog
{
    /// <summary>How many lines of each kind are kept in full.</summary>
    public const int Listed = 10;

    private const int ListedLength = 200;

    private readonly List<ListedLine> _unparsed = [];
    private readonly List<ListedLine> _lost = [];
    private readonly List<ListedLine> _cut = [];
    private readonly LineShapes _shapes = new();
    private readonly Dictionary<string, long> _unknown = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _events = new(StringComparer.Ordinal);

    internal InputLog(string path, InputCompression compression, TraceFormat format, bool strict)
    {
        Path = path;
        Compression = compression;
        Format = format;
        Strict = strict;
    }

    /// <summary>The file as the caller named it.</summary>
    public string Path { get; }

    /// <summary>How it was compressed.</summary>
    public InputCompression Compression { get; }

    /// <summary>Its format.</summary>
    public TraceFormat Format { get; }

    /// <summary>Whether a line that does not parse is fatal.</summary>
    public bool Strict { get; }

    /// <summary>All lines.</summary>
    public long Lines { get; internal set; }

    /// <summary>Bytes of text.</summary>
    public long TextBytes { get; internal set; }

    /// <summary>Lines that are events.</summary>
    public long Events { get; internal set; }

    /// <summary>Events by name.</summary>
    public IReadOnlyDictionary<string, long> EventsByName => _events;

    /// <summary>Lines that are neither events nor comments nor markers.</summary>
    public long UnparsedLines { get; private set; }

    /// <summary>The first <see cref="Listed"/> of them.</summary>
    public IReadOnlyList<ListedLine> FirstUnparsedLines => _unparsed;

    /// <summary>What the unparsed lines look like, most frequent first.</summary>
    public IReadOnlyList<(string Description, long Count)> UnparsedShapes => _shapes.All;

    /// <summary>The recorder's markers that events are missing.</summary>
    public long LostMarkers { get; private set; }

    /// <summary>The first <see cref="Listed"/> of them.</summary>
    public IReadOnlyList<ListedLine> FirstLostMarkers => _lost;

    /// <summary>How many events the recorder says it lost, by its markers and its header; 0 when it gives no number.</summary>
    public long LostEvents { get; internal set; }

    /// <summary>Time of the first event in nanoseconds of the file's clock.</summary>
    public long FirstTimeNs { get; internal set; }

    /// <summary>Time of the latest event in nanoseconds of the file's clock.</summary>
    public long LastTimeNs { get; internal set; }

    /// <summary>How often an event is earlier than the one before it.</summary>
    public long BackwardSteps { get; internal set; }

    /// <summary>Events by CPU, the index the CPU; empty for a format without CPUs.</summary>
    public IReadOnlyList<long> EventsByCpu { get; internal set; } = [];

    /// <summary>What <c>ioasis record</c> wrote beside the events; not present in other files.</summary>
    public RecordedMachine Machine { get; } = new();

    /// <summary>The architecture of the recorded machine, as <c>uname -m</c> has it; empty if the file does not tell.</summary>
    public string Architecture { get; internal set; } = "";

    /// <summary>Whether it is a recording of <c>ioasis record</c> that was cut off before its end, as by a crash.</summary>
    public bool WasCutOff => Machine is { IsPresent: true, End: null };

    /// <summary>What the numbers of the file's clock count.</summary>
    public Recording.ClockUnit Clock { get; internal set; }

    /// <summary>Events that name a device and an address and that this reader does not know, by name: what they say is not replayed.</summary>
    public IReadOnlyDictionary<string, long> UnknownEvents => _unknown;

    /// <summary>Events of which the recorder wrote only a part, because they did not fit.</summary>
    public long CutEvents { get; private set; }

    /// <summary>The first <see cref="Listed"/> of them.</summary>
    public IReadOnlyList<ListedLine> FirstCutEvents => _cut;

    internal void SetEvents(string name, long count, bool unknown = false)
    {
        if (count > 0)
        {
            _events[name] = count;
            if (unknown)
            {
                _unknown[name] = count;
            }
        }
    }

    internal void Cut(long line, ReadOnlySpan<byte> text)
    {
        CutEvents++;
        if (_cut.Count < Listed)
        {
            _cut.Add(new(line, Show(text, ListedLength)));
        }
    }

    /// <summary>Notes the time of an event.</summary>
    internal void At(long timeNs)
    {
        if (Events == 0)
        {
            FirstTimeNs = timeNs;
            LastTimeNs = timeNs;
        }
        else if (timeNs < LastTimeNs)
        {
            BackwardSteps++;
        }
        else
        {
            LastTimeNs = timeNs;
        }

        Events++;
    }

    internal void Unparsed(long line, ReadOnlySpan<byte> text)
    {
        if (Strict)
        {
            throw new TraceInputException(
                TraceInputError.UnparsedLine, Path, line, $"the line does not parse as {Format.Name()}: {Show(text, 80)}");
        }

        UnparsedLines++;
        _shapes.Add(text);
        if (_unparsed.Count < Listed)
        {
            _unparsed.Add(new(line, Show(text, ListedLength)));
        }
    }

    internal void Lost(long line, ReadOnlySpan<byte> text, ulong events)
    {
        LostMarkers++;
        LostEvents += (long)Math.Min(events, long.MaxValue / 2);
        if (_lost.Count < Listed)
        {
            _lost.Add(new(line, Show(text, ListedLength)));
        }
    }

    /// <summary>Says that no line is an event, and what the lines are instead.</summary>
    internal TraceInputException NoEvents() => new(
        TraceInputError.NoEvents,
        Path,
        UnparsedLines > 0 ? FirstUnparsedLines[0].Line : null,
        UnparsedLines == 0 ? "holds no event"
            : $"no line is an event of {Format.Name()}, and the first that is not is this one: {_shapes.Describe()}");

    /// <summary>Says that there are events, and none that can be replayed.</summary>
    internal TraceInputException NothingToReplay(string wanted)
    {
        List<KeyValuePair<string, long>> events = [.. _events];
        events.Sort(static (a, b) => a.Value != b.Value ? b.Value.CompareTo(a.Value) : string.CompareOrdinal(a.Key, b.Key));
        const int most = 5;
        string seen = string.Join(
            ", ", events.Take(most).Select(static e => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{e.Key} {e.Value}")));
        return new(
            TraceInputError.NothingToReplay,
            Path,
            null,
            $"holds nothing to replay: {wanted}; its events are {seen}{(events.Count > most ? ", …" : "")}"
            + (UnparsedLines > 0 ? $"; besides, {_shapes.Describe()}" : ""));
    }

    /// <summary>Says that the last line is cut off.</summary>
    internal TraceInputException Truncated(long line, ReadOnlySpan<byte> text) => new(
        TraceInputError.Truncated,
        Path,
        line,
        $"the file ends in the middle of a line: \"{Show(text, 80)}\"; it is truncated");

    private static string Show(ReadOnlySpan<byte> text, int length)
    {
        if (text.Length > length)
        {
            text = text[..length];
        }

        return string.Create(text.Length, text, static (chars, bytes) =>
        {
            for (int i = 0; i < bytes.Length; i++)
            {
                chars[i] = bytes[i] is >= 0x20 and < 0x7f ? (char)bytes[i] : bytes[i] == (byte)'\t' ? ' ' : '?';
            }
        });
    }
}
