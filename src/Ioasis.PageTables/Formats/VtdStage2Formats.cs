using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Formats;

/// <summary>Options of the second-stage formats of VT-d.</summary>
internal sealed record VtdStage2Options : PageTableOptions
{
    /// <summary>
    /// Every leaf has SNP: accesses are snooped, whatever the request says. Only where the hardware has snoop control
    /// (ECAP_REG.SC); elsewhere the bit is reserved.
    /// </summary>
    public bool ForceSnoop { get; init; }
}

/// <summary>
/// VT-d's second stage (VT-d specification, section 3.7, "Second-Stage Translation"):
/// <code>
///  63       62:52    51:12    11   10       9 8 7   6:2      1 0
///  ignored  ignored  address  SNP  ignored  D A PS  ignored  W R
/// </code>
/// An entry is present if it permits something. Bit 7 says of an entry of level 1 or 2 that it is a leaf. A and D count only
/// where the hardware is told to keep them (SSADE in the PASID-table entry). A leaf may be written and not read; execution is
/// not told from reading.
/// </summary>
internal interface IVtdStage2Format : IPageSizeBitFormat
{
    private const ulong Read = 1 << 0;
    private const ulong Write = 1 << 1;
    private const ulong Accessed = 1 << 8;
    private const ulong Dirty = 1 << 9;
    private const ulong Snoop = 1 << 11;

    /// <inheritdoc/>
    static TranslationStage IPageTableFormat.Stage => TranslationStage.Second;

    /// <inheritdoc/>
    static ulong IPageTableFormat.PresentMask => Read | Write;

    /// <inheritdoc/>
    static Errno IPageTableFormat.TryConfigure(PageTableOptions options, out FormatSettings settings)
    {
        VtdStage2Options? own = options as VtdStage2Options;
        settings = new((own is { ForceSnoop: true } ? Snoop : 0) | (options.HardwareDirty ? Accessed : 0));
        return own is not null || options.GetType() == typeof(PageTableOptions) ? Errno.Success : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.Attributes(Access access, MemoryType type, ulong preset)
    {
        ulong bits = (ulong)access & (Read | Write);
        return bits == 0 ? 0 : bits | preset;
    }

    /// <inheritdoc/>
    static ulong IPageTableFormat.EncodeTable(ulong address, int level) => address | Read | Write;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static bool IPageTableFormat.IsTable(ulong entry, int level) =>
        (entry & (Read | Write)) != 0 && (entry & PageSize) == 0;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Access IPageTableFormat.AccessOf(ulong entry, int level, ulong preset) => (Access)(entry & (Read | Write));

    /// <inheritdoc/>
    static bool IPageTableFormat.IsDirty(ulong entry, int level) => (entry & Dirty) != 0;

    /// <inheritdoc/>
    static ulong IPageTableFormat.ToClean(ulong entry, int level) => entry & ~Dirty;

    /// <inheritdoc/>
    static ulong IPageTableFormat.ToDirty(ulong entry, int level) => entry | Dirty;
}

/// <summary>39-bit addresses, zero-extended, by 3 levels.</summary>
internal readonly struct VtdStage2Level3 : IVtdStage2Format
{
    /// <inheritdoc/>
    public static string Name => nameof(VtdStage2Level3);

    /// <inheritdoc/>
    public static int Levels => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 39;
}

/// <summary>48-bit addresses, zero-extended, by 4 levels.</summary>
internal readonly struct VtdStage2Level4 : IVtdStage2Format
{
    /// <inheritdoc/>
    public static string Name => nameof(VtdStage2Level4);

    /// <inheritdoc/>
    public static int Levels => 4;

    /// <inheritdoc/>
    public static int ApertureBits => 48;
}

/// <summary>57-bit addresses, zero-extended, by 5 levels.</summary>
internal readonly struct VtdStage2Level5 : IVtdStage2Format
{
    /// <inheritdoc/>
    public static string Name => nameof(VtdStage2Level5);

    /// <inheritdoc/>
    public static int Levels => 5;

    /// <inheritdoc/>
    public static int ApertureBits => 57;
}
