using System.Buffers.Binary;
using System.Globalization;
using Ioasis.Replay.Recording;
using static System.FormattableString;

namespace Ioasis.Explain;

/// <summary>What a recording says of an address at the time of a fault.</summary>
internal enum HistoryVerdict
{
    /// <summary>It was mapped at that time.</summary>
    Mapped,

    /// <summary>It had been mapped, and was unmapped before.</summary>
    UseAfterUnmap,

    /// <summary>It lies just behind the end of a mapping.</summary>
    PastEnd,

    /// <summary>It lies just before the start of a mapping.</summary>
    BeforeStart,

    /// <summary>It was mapped only afterwards.</summary>
    MappedLater,

    /// <summary>Another device has it mapped.</summary>
    OtherDevice,

    /// <summary>With other upper 32 bits it would be mapped.</summary>
    UpperBitsLost,

    /// <summary>With its bytes in the other order it would be mapped.</summary>
    BytesSwapped,

    /// <summary>It was not mapped at any time, and nothing is near.</summary>
    NeverMapped,
}

/// <summary>The history of one address.</summary>
/// <param name="Address">The address.</param>
/// <param name="Verdict">What it comes to.</param>
/// <param name="Text">That in a sentence, with times and distances.</param>
/// <param name="Events">Its maps and unmaps, at most the last ten.</param>
/// <param name="FaultSeconds">When it faulted, on the recorder's clock; null if the recording does not cover that.</param>
/// <param name="Neighbours">Mappings near it, in the order of their maps: the last ones before the fault, and the first ones after it.</param>
internal sealed record IovaHistory(
    ulong Address, HistoryVerdict Verdict, string Text, IReadOnlyList<HistoryEvent> Events, double? FaultSeconds, IReadOnlyList<NeighbourMapping> Neighbours);

/// <summary>A mapping near an address, from its map to its unmap.</summary>
/// <param name="Start">First IOVA.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Device">Its device, or null where the recording does not tell.</param>
/// <param name="FromSeconds">When it was mapped.</param>
/// <param name="ToSeconds">When it was unmapped; null if the recording ends before.</param>
internal sealed record NeighbourMapping(ulong Start, ulong Length, string? Device, double FromSeconds, double? ToSeconds);

/// <summary>A map or unmap of an address in a recording.</summary>
/// <param name="Line">Line of the recording.</param>
/// <param name="Seconds">Time on the recorder's clock.</param>
/// <param name="IsUnmap">Whether it is an unmap.</param>
/// <param name="Start">First IOVA.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Device">Its device, or null where the recording does not tell.</param>
internal sealed record HistoryEvent(int Line, double Seconds, bool IsUnmap, ulong Start, ulong Length, string? Device);

/// <summary>Finds histories of addresses in a recording of the same run.</summary>
internal sealed class HistoryFinder
{
    // So far beside a mapping an access is an overrun of that mapping rather than something else.
    private const ulong Beside = 64 * 1024;
    private const int ListedEvents = 10;
    private const double ClockSlack = 1;

    private readonly KernelTrace _trace;

    /// <summary>Takes a recording.</summary>
    public HistoryFinder(KernelTrace trace)
    {
        ArgumentNullException.ThrowIfNull(trace);
        _trace = trace;
    }

    /// <summary>Whether a time of the log is one of the recording: the kernel's log and its trace clock count from the same start.</summary>
    public bool Covers(double? seconds) => seconds is { } time && _trace.Mappings.Length > 0
        && time >= Seconds(_trace.Mappings[0]) - ClockSlack && time <= Seconds(_trace.Mappings[^1]) + ClockSlack;

    /// <summary>Finds the history of an address.</summary>
    /// <param name="address">The address.</param>
    /// <param name="device">The device that used it, or null for any.</param>
    /// <param name="seconds">When; null, or a time that the recording does not cover, for its end.</param>
    public IovaHistory Find(ulong address, string? device, double? seconds)
    {
        bool isTimed = Covers(seconds);
        int wanted = device is null ? -1 : IndexOf(device);
        List<Span> live = [];
        List<HistoryEvent> events = [];
        (Span Area, double Time)? lastEnd = null;
        (double Time, int Line)? mappedLater = null;
        foreach (ref readonly MappingEvent e in _trace.Mappings.AsSpan())
        {
            bool isCovering = address - e.Iova < e.Length;
            bool isLater = isTimed && Seconds(e) > seconds;
            if (isLater)
            {
                if (!e.IsUnmap && isCovering && mappedLater is null && (wanted < 0 || e.Device == wanted))
                {
                    mappedLater = (Seconds(e), e.Line);
                }

                continue;
            }

            if (isCovering)
            {
                events.Add(new(e.Line, Seconds(e), e.IsUnmap, e.Iova, e.Length, NameOf(e.Device)));
            }

            if (!e.IsUnmap)
            {
                Span mapped = new(e.Iova, e.Length, e.Device, e.Line, Seconds(e));
                if (CanMatter(mapped, address))
                {
                    live.Add(mapped);
                }

                continue;
            }

            MappingEvent unmap = e;
            for (int i = live.Count - 1; i >= 0; i--)
            {
                Span area = live[i];
                if (area.Start < unmap.Iova + unmap.Length && unmap.Iova < area.End && (unmap.Device < 0 || area.Device < 0 || area.Device == unmap.Device))
                {
                    if (isCovering && area.Contains(address) && (wanted < 0 || area.Device < 0 || area.Device == wanted))
                    {
                        lastEnd = (area, Seconds(unmap));
                    }

                    live.RemoveAt(i);
                    AddRest(live, area, unmap);
                }
            }
        }

        (HistoryVerdict verdict, string text) = Judge(address, wanted, isTimed ? seconds : null, live, lastEnd, mappedLater);
        return new(
            address, verdict, text, [.. events.Skip(Math.Max(0, events.Count - ListedEvents))], isTimed ? seconds : null,
            Neighbourhood.Find(_trace, address, wanted, isTimed ? seconds : null));
    }

    private (HistoryVerdict Verdict, string Text) Judge(
        ulong address, int wanted, double? time, List<Span> live, (Span Area, double Time)? lastEnd, (double Time, int Line)? mappedLater)
    {
        Span? own = live.FindLast(a => a.Contains(address) && IsOf(a, wanted));
        if (own is { } mapped)
        {
            return (HistoryVerdict.Mapped, $"It is mapped by [{mapped}] since line {mapped.Line}.");
        }

        if (lastEnd is { } end)
        {
            string when = time is { } now ? $" {Duration(now - end.Time)} before the fault" : Invariant($" at {end.Time:0.000000} s");
            return (HistoryVerdict.UseAfterUnmap,
                $"Use after unmap: [{end.Area}], mapped in line {end.Area.Line}, was unmapped{when}; it had lived {Duration(end.Time - end.Area.Time)}.");
        }

        Span? below = live.Where(a => IsOf(a, wanted) && a.End <= address && address - a.End < Beside).OrderByDescending(static a => a.End).FirstOrDefault();
        if (below is not null)
        {
            ulong past = address - below.End;
            return (HistoryVerdict.PastEnd, past < 4096
                ? Invariant($"One page past the end: {past} bytes behind the last byte of [{below}], mapped in line {below.Line}.")
                : Invariant($"Past the end: {past} bytes behind [{below}], mapped in line {below.Line}."));
        }

        Span? above = live.Where(a => IsOf(a, wanted) && a.Start > address && a.Start - address <= Beside).OrderBy(static a => a.Start).FirstOrDefault();
        if (above is not null)
        {
            return (HistoryVerdict.BeforeStart, Invariant($"Before the start: {above.Start - address} bytes before [{above}], mapped in line {above.Line}."));
        }

        if (mappedLater is { } later)
        {
            return (HistoryVerdict.MappedLater, time is { } now
                ? $"Mapped too late: line {later.Line} maps it {Duration(later.Time - now)} after the fault."
                : $"It is mapped later, in line {later.Line}.");
        }

        if (live.Find(a => a.Contains(address)) is { } other)
        {
            return (HistoryVerdict.OtherDevice, $"It is mapped for another device, {NameOf(other.Device) ?? "of no name"}: [{other}].");
        }

        if (live.Find(a => IsOf(a, wanted) && a.Start >> 32 != address >> 32 && a.Contains(a.WithLowBitsOf(address))) is { } wide)
        {
            return (HistoryVerdict.UpperBitsLost,
                Invariant($"Its upper 32 bits are wrong: 0x{wide.WithLowBitsOf(address):x} lies in [{wide}], mapped in line {wide.Line}."));
        }

        ulong swapped = BinaryPrimitives.ReverseEndianness(address);
        return live.Find(a => IsOf(a, wanted) && a.Contains(swapped)) is { } other2
            ? (HistoryVerdict.BytesSwapped, Invariant($"Its bytes are in the wrong order: 0x{swapped:x} lies in [{other2}], mapped in line {other2.Line}."))
            : (HistoryVerdict.NeverMapped, "It was never mapped in the recording, and nothing that is mapped is within 64 KiB of it.");
    }

    // What Judge can ask for: near the address, or at it with other upper bits or swapped bytes. An unmap then goes through few.
    private static bool CanMatter(Span area, ulong address) =>
        area.Contains(address)
        || (area.End <= address && address - area.End < Beside)
        || (area.Start > address && area.Start - address <= Beside)
        || area.Start >> 32 != (area.End - 1) >> 32
        || area.Contains(area.WithLowBitsOf(address))
        || area.Contains(BinaryPrimitives.ReverseEndianness(address));

    private static void AddRest(List<Span> live, Span area, in MappingEvent unmap)
    {
        if (area.Start < unmap.Iova)
        {
            live.Add(area with { Length = unmap.Iova - area.Start });
        }

        ulong end = unmap.Iova + unmap.Length;
        if (end < area.End)
        {
            live.Add(area with { Start = end, Length = area.End - end });
        }
    }

    private static bool IsOf(Span area, int wanted) => wanted < 0 || area.Device < 0 || area.Device == wanted;

    private static double Seconds(in MappingEvent e) => e.TimeNs / 1e9;

    private static string Duration(double seconds) => seconds < 1e-3 ? Invariant($"{seconds * 1e6:0.#} µs") : seconds < 1 ? Invariant($"{seconds * 1e3:0.##} ms") : Invariant($"{seconds:0.###} s");

    private int IndexOf(string device)
    {
        for (int i = 0; i < _trace.Devices.Count; i++)
        {
            if (string.Equals(_trace.Devices.Name(i), device, StringComparison.OrdinalIgnoreCase))
            {
                return i;
            }
        }

        return -1;
    }

    private string? NameOf(int device) => device < 0 ? null : _trace.Devices.Name(device);

    private sealed record Span(ulong Start, ulong Length, int Device, int Line, double Time)
    {
        public ulong End => Start + Length;

        public bool Contains(ulong address) => address - Start < Length;

        /// <summary>The upper 32 bits of its start, the lower ones of an address.</summary>
        public ulong WithLowBitsOf(ulong address) => (Start & ~0xffff_fffful) | (uint)address;

        public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Start:x}, +0x{Length:x}");
    }
}
