namespace Ioasis.PageTables;

/// <summary>
/// The formats of radix tables that there are (RISC-V privileged specification: Sv32, Sv39, Sv48, Sv57 for the first stage,
/// and the "x4" ones with a root of 16 KiB for the second stage, hypervisor extension).
/// </summary>
public enum PageTableFormat
{
    /// <summary>First stage, 2 levels, 32-bit IOVAs, entries of 4 bytes.</summary>
    Sv32,

    /// <summary>First stage, 3 levels, 39-bit sign-extended IOVAs.</summary>
    Sv39,

    /// <summary>First stage, 4 levels, 48-bit sign-extended IOVAs.</summary>
    Sv48,

    /// <summary>First stage, 5 levels, 57-bit sign-extended IOVAs.</summary>
    Sv57,

    /// <summary>Second stage, 2 levels, 34-bit guest physical addresses, entries of 4 bytes.</summary>
    Sv32x4,

    /// <summary>Second stage, 3 levels, 41-bit guest physical addresses.</summary>
    Sv39x4,

    /// <summary>Second stage, 4 levels, 50-bit guest physical addresses.</summary>
    Sv48x4,

    /// <summary>Second stage, 5 levels, 59-bit guest physical addresses.</summary>
    Sv57x4,
}

/// <summary>The memory type of a mapping (Svpbmt, PTE bits 62:61).</summary>
public enum MemoryType
{
    /// <summary>As the physical memory attributes say.</summary>
    Pma = 0,

    /// <summary>Main memory, non-cacheable, idempotent, weakly ordered.</summary>
    NonCacheable = 1,

    /// <summary>I/O: non-cacheable, non-idempotent, strongly ordered.</summary>
    Io = 2,
}

/// <summary>A leaf as the table holds it.</summary>
/// <param name="Range">The IOVAs that it translates, both ends inclusive.</param>
/// <param name="Address">Where the first of them leads.</param>
/// <param name="Access">What the device may do.</param>
/// <param name="Type">The memory type.</param>
public readonly record struct PageMapping(
    Primitives.AddressRange Range, Primitives.PhysicalAddress Address, Primitives.Access Access, MemoryType Type);
