using Ioasis.Primitives;

namespace Ioasis.Exec.Sanitizing;

/// <summary>What a program did wrong with DMA; those that harm memory come first.</summary>
public enum DmaMistake
{
    /// <summary>A device used an IOVA after the program had unmapped it.</summary>
    AfterUnmap,

    /// <summary>A device used memory that the program had freed or replaced while it was mapped.</summary>
    FreedMemory,

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

    internal bool Covers(ulong iova) => iova - Iova < Length;

    internal bool Overlaps(ulong iova, ulong length) => Iova <= iova + (length - 1) && iova <= Iova + (Length - 1);
}

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
}

/// <summary>What is looked for.</summary>
public sealed record SanitizeOptions
{
    /// <summary>Whether the program is ended at the first access of a device that is wrong.</summary>
    public bool IsFatal { get; init; }

    /// <summary>What is not reported.</summary>
    public IReadOnlyList<Suppression> Suppressions { get; init; } = [];
}
