using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>Reads the events of a kernel trace in any of its textual forms.</summary>
internal sealed class TextEventSource(LineReader lines, InputLog input) : KernelEventSource(input)
{
    private readonly LineCutter _cutter = new();
    private readonly EventText _text = new();
    private long _lastTime;

    /// <inheritdoc/>
    public override bool TryRead(ref KernelEvent e)
    {
        while (lines.TryRead(out ReadOnlySpan<byte> line))
        {
            if (TryLine(line, ref e))
            {
                e.Line = lines.LineNumber;
                return true;
            }
        }

        return false;
    }

    /// <inheritdoc/>
    public override void Finish()
    {
        Input.Lines = lines.LineNumber;
        Input.TextBytes = lines.TextBytes;
    }

    private bool TryLine(ReadOnlySpan<byte> line, ref KernelEvent e)
    {
        ReadOnlySpan<byte> text = line;
        switch (KernelLine.KindOf(ref text))
        {
            case KernelLineKind.Event:
                break;

            case KernelLineKind.Lost:
                Input.Lost(lines.LineNumber, line, KernelLine.LostCount(text));
                return false;

            default:
                if (Input.Machine.TryLine(text))
                {
                    return false;
                }

                if (KernelLine.TryOverwritten(line, out ulong overwritten) && overwritten > 0)
                {
                    Input.Lost(lines.LineNumber, line, overwritten);
                }

                return false;
        }

        e = default;
        e.DomainType = -1;
        if (_cutter.TryCut(text, ref e))
        {
            if (e.Fields.StartsWith("[LINE TOO BIG]"u8))
            {
                Input.Cut(lines.LineNumber, line);
                return false;
            }

            Rename(ref e);
            e.Kind = Names.Kind(e.Name);
            if (e.Kind == KernelEventKind.Other && !Names.IsJudged)
            {
                e.Kind = Names.Judge(EventText.CarriesMapping(e.Fields));
            }

            // Without anything in front, only what is known is an event: any text may have a word with a colon.
            if ((e.Form != LineForm.Bare || e.Kind is not (KernelEventKind.Other or KernelEventKind.Unknown)) && _text.TryRead(ref e))
            {
                Time(ref e);
                return true;
            }
        }

        switch (KernelLine.KindOfOther(text))
        {
            case KernelLineKind.Comment:
                break;

            case KernelLineKind.Lost:
                Input.Lost(lines.LineNumber, line, KernelLine.LostCount(text));
                break;

            case KernelLineKind.Cut:
                Input.Cut(lines.LineNumber, line);
                break;

            default:
                if (!lines.LastLineEnded && Input.Machine.IsPresent)
                {
                    // Of our own recorder's files the report says that they were cut off.
                    break;
                }

                if (!lines.LastLineEnded)
                {
                    throw Input.Truncated(lines.LineNumber, line);
                }

                Input.Unparsed(lines.LineNumber, line);
                break;
        }

        return false;
    }

    private void Time(ref KernelEvent e)
    {
        if (e.Unit == ClockUnit.None)
        {
            // An event without a time happened with the one before it, as far as anybody can tell.
            e.TimeNs = _lastTime;
        }
        else
        {
            Input.Clock = e.Unit;
        }

        _lastTime = e.TimeNs;
    }

    // trace-cmd and perf render a note as print: function: text.
    private static void Rename(ref KernelEvent e)
    {
        if (e.Name.SequenceEqual("print"u8) || e.Name.SequenceEqual("bprint"u8))
        {
            TextCursor cursor = new(e.Fields);
            if (cursor.SkipPast(": "u8))
            {
                e.Name = "tracing_mark_write"u8;
                e.Fields = cursor.Rest;
            }
        }
    }
}
