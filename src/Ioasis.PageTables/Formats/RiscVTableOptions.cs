namespace Ioasis.PageTables.Formats;

/// <summary>Options of the RISC-V formats with entries of 8 bytes.</summary>
internal sealed record RiscVTableOptions : PageTableOptions
{
    /// <summary>Uses 64 KiB leaves (Svnapot). Not with 4-byte entries.</summary>
    public bool Napot { get; init; }

    /// <summary>Permits memory types other than <see cref="MemoryType.Default"/> (Svpbmt). Not with 4-byte entries.</summary>
    public bool MemoryTypes { get; init; }
}
