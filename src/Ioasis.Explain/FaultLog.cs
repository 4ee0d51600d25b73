using Ioasis.Explain.Lines;

namespace Ioasis.Explain;

/// <summary>A kernel's log, read: its faults, and what else of it helps to understand them.</summary>
internal sealed class FaultLog
{
    private const int ListedUnknown = 5;

    private FaultLog(LogMachine machine) => Machine = machine;

    /// <summary>The faults, in the order of the lines.</summary>
    public IReadOnlyList<Fault> Faults { get; private set; } = [];

    /// <summary>What the log says of the machine.</summary>
    public LogMachine Machine { get; }

    /// <summary>Lines of the input.</summary>
    public int Lines { get; private set; }

    /// <summary>Faults that the kernel left out of its log ("callbacks suppressed").</summary>
    public long Suppressed { get; private set; }

    /// <summary>Lines that look like a fault of an IOMMU and are not understood.</summary>
    public int UnknownLines { get; private set; }

    /// <summary>The first of them, with their numbers.</summary>
    public IReadOnlyList<(int Line, string Text)> FirstUnknown { get; private set; } = [];

    /// <summary>Reads a log: dmesg, journald or syslog, with any prefix, quoted or not.</summary>
    /// <param name="reader">The text.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static FaultLog Read(TextReader reader, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(reader);
        LineParser[] parsers = [new IntelLines(), new AmdLines(), new SmmuLines(), new SmmuV3Lines(), new OtherLines()];
        List<Fault> faults = [];
        List<(int, string)> unknown = [];
        LogMachine machine = new();
        FaultLog log = new(machine);
        while (reader.ReadLine() is { } text)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var line = LogLine.Parse(++log.Lines, text);
            bool isRead = false;
            foreach (LineParser parser in parsers)
            {
                isRead = isRead || parser.TryRead(line, faults);
            }

            if (isRead || machine.Read(line.Text))
            {
                continue;
            }

            if (LogShapes.Suppressed(line.Text) is { } suppressed)
            {
                log.Suppressed += suppressed;
            }
            else if (LogShapes.LooksLikeFault(line.Text))
            {
                log.UnknownLines++;
                if (unknown.Count < ListedUnknown)
                {
                    unknown.Add((line.Number, line.Text));
                }
            }
        }

        foreach (LineParser parser in parsers)
        {
            parser.Flush(faults);
        }

        faults.Sort(static (a, b) => a.Line.CompareTo(b.Line));
        log.Faults = faults;
        log.FirstUnknown = unknown;
        return log;
    }
}
