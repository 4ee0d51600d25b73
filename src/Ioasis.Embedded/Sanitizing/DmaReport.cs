using System.Text;
using Ioasis.Primitives;
using static System.FormattableString;

namespace Ioasis.Embedded.Sanitizing;

/// <summary>What a program did wrong with DMA; those that harm memory come first.</summary>
public enum DmaMistake
{
    /// <summary>A device used an IOVA after the program had unmapped it.</summary>
    AfterUnmap,

    /// <summary>A device used memory that the program had freed or replaced while it was mapped.</summary>
    FreedMemory,

    /// <summary>A device used a translation that the program's own page tables did not have any more: an invalidation is missing.</summary>
    StaleTranslation,

    /// <summary>A device went on behind the end of a mapping.</summary>
    PastEnd,

    /// <summary>A device wrote what is mapped for reading only, or read what is mapped for writing only.</summary>
    Direction,

    /// <summary>A device used an IOVA that was never mapped for it.</summary>
    NeverMapped,

    /// <summary>A map lies over another one: the same IOVAs, or the same memory a second time in one address space.</summary>
    Overlap,

    /// <summary>An unmap found nothing to unmap.</summary>
    NothingUnmapped,

    /// <summary>A mapping was still there when the program closed its address space or ended.</summary>
    LeftMapped,
}

/// <summary>A place in a program from which it called.</summary>
/// <param name="Address">The instruction in its memory.</param>
/// <param name="Module">The file that is mapped there; null for none.</param>
/// <param name="Offset">The address as the file's symbols have it.</param>
public sealed record ProgramFrame(ulong Address, string? Module, ulong Offset)
{
    /// <summary>Function and line, where the file tells them and <c>addr2line</c> is on this machine.</summary>
    public string? Source { get; init; }
}

/// <summary>A call that mapped or unmapped.</summary>
/// <param name="Seconds">Since the program began.</param>
/// <param name="Thread">Who called.</param>
/// <param name="Stack">From where, the innermost first.</param>
public sealed record ProgramMoment(double Seconds, int Thread, IReadOnlyList<ProgramFrame> Stack);

/// <summary>A mapping and its history.</summary>
/// <param name="Iova">First IOVA.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Memory">The program's memory; an offset for a file.</param>
/// <param name="Access">What devices may do.</param>
/// <param name="Mapped">Who mapped it.</param>
public sealed record TrackedMapping(ulong Iova, ulong Length, ulong Memory, Access Access, ProgramMoment Mapped)
{
    /// <summary>Who unmapped it; null while it lives.</summary>
    public ProgramMoment? Unmapped { get; internal set; }

    /// <summary>The process whose memory it is.</summary>
    public int Process { get; init; }

    internal bool IsFile { get; init; }

    // Parts whose memory the program freed while it was mapped.
    internal List<FreedRange>? Freed { get; set; }

    internal bool Covers(ulong iova) => iova - Iova < Length;

    internal bool SharesMemory(int process, ulong memory, ulong length) =>
        !IsFile && Process == process && Memory <= memory + (length - 1) && memory <= Memory + (Length - 1);

    internal bool Overlaps(ulong iova, ulong length) => Iova <= iova + (length - 1) && iova <= Iova + (Length - 1);
}

/// <summary>Memory that the program freed.</summary>
/// <param name="Memory">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Moment">Who freed it.</param>
internal readonly record struct FreedRange(ulong Memory, ulong Length, ProgramMoment Moment);

/// <summary>A mistake.</summary>
/// <param name="Mistake">Which.</param>
/// <param name="Device">The device whose DMA it was; null where no device was.</param>
/// <param name="Access">What it tried; none where no device was.</param>
/// <param name="Iova">The IOVA, or the first of the range.</param>
/// <param name="Length">Bytes of the range; 0 for an access.</param>
/// <param name="Mapping">The mapping that it is about; null if there is none near.</param>
/// <param name="Seconds">When it was seen, since the program began.</param>
public sealed record DmaReport(DmaMistake Mistake, DeviceId? Device, Access Access, ulong Iova, ulong Length, TrackedMapping? Mapping, double Seconds)
{
    /// <summary>How often the same was seen.</summary>
    public long Count { get; internal set; } = 1;

    /// <summary>For a call: who made it.</summary>
    public ProgramMoment? Call { get; init; }

    /// <summary>Past the end: bytes behind the last one.</summary>
    public ulong Distance { get; init; }

    /// <summary>Freed memory, where the program told of it: who freed it.</summary>
    public ProgramMoment? Freed { get; init; }

    /// <summary>Stale translation: the memory that the access reached; null if it is not known.</summary>
    public ulong? Reached { get; init; }

    /// <summary>Stale translation: the memory that the page tables lead to; null if they lead nowhere.</summary>
    public ulong? Current { get; init; }

    /// <summary>The calls that it is about.</summary>
    internal IEnumerable<ProgramMoment> Moments => ((ProgramMoment?[])[Call, Freed, Mapping?.Mapped, Mapping?.Unmapped]).OfType<ProgramMoment>();

    /// <summary>The report in a line.</summary>
    public string Headline
    {
        get
        {
            string device = Device is { } id ? $" by {id}" : "";
            string dma = Invariant($"{(Access == Access.Write ? "write" : "read")} of 0x{Iova:x}{device}");
            string range = Invariant($"[0x{Iova:x}, +0x{Length:x}]");
            return Mistake switch
            {
                DmaMistake.AfterUnmap => $"DMA after unmap: {dma}",
                DmaMistake.FreedMemory => $"DMA into freed memory: {dma}, whose memory the program had freed or replaced while it was mapped",
                DmaMistake.StaleTranslation => Invariant(
                    $"DMA by a stale translation: {dma} reached memory {TextOf(Reached)}, where the page tables lead to {TextOf(Current)}: an invalidation is missing"),
                DmaMistake.PastEnd => Invariant($"DMA past the end: {dma}, {Distance} bytes behind the mapping"),
                DmaMistake.Direction => $"DMA against the direction: {dma}, mapped {NameOf(Mapping?.Access ?? Access.None)}",
                DmaMistake.NeverMapped => $"DMA that was never mapped: {dma}",
                DmaMistake.Overlap => $"overlapping map: {range} shares IOVAs or memory with another mapping",
                DmaMistake.NothingUnmapped => $"unmap of nothing: {range} is not mapped",
                _ => $"left mapped: {range} was not unmapped before its address space was closed",
            };
        }
    }

    /// <summary>The report with its mapping and the places from which that was made and ended, several lines.</summary>
    public override string ToString()
    {
        StringBuilder text = new();
        _ = text.Append(Headline).Append(Count > 1 ? Invariant($" ({Count} times)") : "");
        if (Call is { } call)
        {
            Write(text, "called", call);
        }

        if (Freed is { } freed)
        {
            Write(text, "freed", freed);
        }

        if (Mapping is { } mapping)
        {
            _ = text.Append(Invariant($"\n    the mapping: [0x{mapping.Iova:x}, +0x{mapping.Length:x}] of memory 0x{mapping.Memory:x}, {NameOf(mapping.Access)}"));
            Write(text, "mapped", mapping.Mapped);
            if (mapping.Unmapped is { } unmapped)
            {
                Write(text, "unmapped", unmapped);
            }
        }

        return text.ToString();
    }

    private static void Write(StringBuilder text, string what, ProgramMoment moment)
    {
        _ = text.Append(Invariant($"\n    {what} at {moment.Seconds:0.000000} s by thread {moment.Thread}{(moment.Stack.Count == 0 ? "" : ":")}"));
        foreach (ProgramFrame frame in moment.Stack)
        {
            string module = frame.Module is { } path ? Invariant($"{Path.GetFileName(path)}+0x{frame.Offset:x}") : Invariant($"0x{frame.Address:x}");
            _ = text.Append(frame.Source is { } source ? $"\n      {source} ({module})" : $"\n      {module}");
        }
    }

    private static string TextOf(ulong? memory) => memory is { } address ? Invariant($"0x{address:x}") : "nowhere";

    private static string NameOf(Access access) => access switch
    {
        Access.Read => "for reading",
        Access.Write => "for writing",
        Access.ReadWrite => "for reading and writing",
        _ => "for nothing",
    };
}

/// <summary>What is looked for.</summary>
public sealed record SanitizeOptions
{
    /// <summary>Whether the program is ended at the first access of a device that is wrong.</summary>
    public bool IsFatal { get; init; }

    /// <summary>What is not reported.</summary>
    public IReadOnlyList<Suppression> Suppressions { get; init; } = [];
}
