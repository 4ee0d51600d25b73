using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.TraceDat;

namespace Ioasis.Replay.Recording;

/// <summary>A recording that was read: a kernel trace or a device-side DMA log, never both.</summary>
internal sealed class LoadedRecording
{
    internal LoadedRecording(KernelTrace trace) => Trace = trace;

    internal LoadedRecording(DmaLog log) => Log = log;

    /// <summary>The kernel trace, or null.</summary>
    public KernelTrace? Trace { get; }

    /// <summary>The DMA log, or null.</summary>
    public DmaLog? Log { get; }

    /// <summary>How the reading went.</summary>
    public InputLog Input => Trace?.Input ?? Log!.Input;
}

/// <summary>How a recording is read.</summary>
internal sealed record RecordingReadOptions
{
    /// <summary>The format; <see cref="TraceFormat.Unknown"/> to recognise it.</summary>
    public TraceFormat Format { get; init; }

    /// <summary>Whether a line that does not parse is fatal.</summary>
    public bool StrictInput { get; init; }

    /// <summary>How DMA events find their maps.</summary>
    public AttributionRule Attribution { get; init; }
}

/// <summary>Reads recordings of any format and compression.</summary>
internal static class RecordingReader
{
    /// <summary>Reads a file, or standard input for <c>-</c>.</summary>
    /// <exception cref="TraceInputException">It cannot be read; the message names file and line.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static LoadedRecording Read(
        string path, RecordingReadOptions? options = null, CancellationToken cancellationToken = default)
    {
        using InputSource source = InputSource.Open(path);
        return Read(source, options, cancellationToken);
    }

    /// <summary>Reads an open source.</summary>
    /// <exception cref="TraceInputException">It cannot be read; the message names file and line.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static LoadedRecording Read(
        InputSource source, RecordingReadOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        options ??= new();
        LineReader lines = new(source);
        InputLog input = Begin(lines, source, options);
        return input.Format == TraceFormat.DmaLog
            ? new(DmaLogReader.Read(lines, input, cancellationToken))
            : new LoadedRecording(KernelTraceReader.Read(Events(source, lines, input, cancellationToken), options.Attribution, cancellationToken));
    }

    /// <summary>Begins to read a kernel trace piece by piece.</summary>
    /// <returns>The reader, or null for a DMA log, of which nothing is lost: it is read whole with <paramref name="log"/>.</returns>
    /// <exception cref="TraceInputException">It cannot be read; the message names file and line.</exception>
    internal static MappingReader? Open(
        InputSource source, RecordingReadOptions options, CancellationToken cancellationToken, out Func<DmaLog> log)
    {
        LineReader lines = new(source);
        InputLog input = Begin(lines, source, options);
        log = () => DmaLogReader.Read(lines, input, cancellationToken);
        return input.Format == TraceFormat.DmaLog
            ? null
            : new MappingReader(Events(source, lines, input, cancellationToken), options.Attribution, cancellationToken);
    }

    private static InputLog Begin(LineReader lines, InputSource source, RecordingReadOptions options)
    {
        TraceFormat format = options.Format;
        if (format == TraceFormat.Unknown)
        {
            format = FormatDetector.Detect(lines, source.Path);
        }
        else if (format == TraceFormat.TraceDat && !FormatDetector.IsTraceDat(lines.Peek(16)))
        {
            throw new TraceInputException(TraceInputError.UnknownFormat, source.Path, null, "does not begin as a trace.dat does");
        }
        else if (format != TraceFormat.TraceDat)
        {
            FormatDetector.RejectBinary(lines.Peek(4096), source.Path);
        }

        return new(source.Path, source.Compression, format, options.StrictInput)
        {
            Architecture = format == TraceFormat.TraceDat ? "" : RecordedArchitecture.FindInText(lines.Peek(RecordedArchitecture.Window)),
        };
    }

    private static KernelEventSource Events(InputSource source, LineReader lines, InputLog input, CancellationToken cancellationToken)
    {
        if (input.Format != TraceFormat.TraceDat)
        {
            return new TextEventSource(lines, input);
        }

        return new DatEventSource(source.OpenSeekable(lines, cancellationToken), input);
    }
}
