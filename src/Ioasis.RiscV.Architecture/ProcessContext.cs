namespace Ioasis.RiscV.Architecture;

/// <summary>How a <c>process_id</c> is partitioned (section 2, "Data structures"): 8, 9 and 3 bits.</summary>
internal static class ProcessDirectoryIndex
{
    /// <summary>The index of a level of the directory.</summary>
    /// <param name="processId">20 bits.</param>
    /// <param name="level">0 (leaf) to 2.</param>
    public static int At(uint processId, int level) => level switch
    {
        0 => (int)(processId & 0xff),
        1 => (int)((processId >> 8) & 0x1ff),
        _ => (int)((processId >> 17) & 7),
    };
}

/// <summary>A process context (section 2.2.2), 16 bytes in the byte order of <c>DC.tc.SBE</c>.</summary>
internal static class ProcessContextOffset
{
    /// <summary>Bytes of a process context.</summary>
    public const int Size = 16;

    /// <summary><c>ta</c>: see <see cref="ProcessTranslationAttributes"/>.</summary>
    public const int TranslationAttributes = 0;

    /// <summary><c>fsc</c>, which is an <c>iosatp</c>.</summary>
    public const int FirstStageContext = 8;
}

/// <summary><c>PC.ta</c> (section 2.2.2.1).</summary>
internal static class ProcessTranslationAttributes
{
    /// <summary><c>V</c>: the context is valid.</summary>
    public const ulong ValidBit = 1ul << 0;

    /// <summary><c>ENS</c>: supervisor requests are allowed.</summary>
    public const ulong EnableSupervisorBit = 1ul << 1;

    /// <summary><c>SUM</c>: supervisor requests may access user pages.</summary>
    public const ulong SupervisorUserMemoryBit = 1ul << 2;

    /// <summary>Position of <c>PSCID</c>, 20 bits.</summary>
    public const int PscidShift = 12;

    /// <summary><c>PSCID</c>, shifted down.</summary>
    public const ulong PscidMask = 0xf_ffff;

    /// <summary>Reserved: 11:3 and 63:32.</summary>
    public const ulong ReservedMask = 0xffff_ffff_0000_0ff8;
}
