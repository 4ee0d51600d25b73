using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Formats;

/// <summary>Options of the x86-64 formats.</summary>
internal sealed record X64TableOptions : PageTableOptions
{
    /// <summary>
    /// Leaves that do not permit execution say so (XD), because the hardware heeds it (VT-d: NXE in the PASID-table entry).
    /// Without it the bit stays 0, and tables do not tell execution from reading.
    /// </summary>
    public bool ExecuteDisable { get; init; }
}

/// <summary>
/// x86-64 paging, which VT-d uses for the first stage (VT-d specification, section 3.6, "First-Stage Translation"):
/// <code>
///  63  62:52    51:12    11:9     8  7       6 5 4   3   2   1   0
///  XD  ignored  address  ignored  G  PS/PAT  D A PCD PWT U/S R/W P
/// </code>
/// Bit 7 says of an entry of level 1 or 2 that it is a leaf; in one of level 0 it is a part of the memory type, which stays 0.
/// Every leaf can be read.
/// </summary>
internal interface IX64Format : IPageSizeBitFormat
{
    private const ulong Present = 1 << 0;
    private const ulong Write = 1 << 1;
    private const ulong User = 1 << 2;
    private const ulong Accessed = 1 << 5;
    private const ulong Dirty = 1 << 6;
    private const ulong ExecuteDisable = 1ul << 63;

    /// <inheritdoc/>
    static TranslationStage IPageTableFormat.Stage => TranslationStage.First;

    /// <inheritdoc/>
    static ulong IPageTableFormat.PresentMask => Present;

    /// <inheritdoc/>
    static Errno IPageTableFormat.TryConfigure(PageTableOptions options, out FormatSettings settings)
    {
        X64TableOptions? own = options as X64TableOptions;
        settings = new(
            Present | Accessed | (options.UserPages ? User : 0) | (options.HardwareDirty ? 0 : Dirty)
            | (own is { ExecuteDisable: true } ? ExecuteDisable : 0));
        return own is not null || options.GetType() == typeof(PageTableOptions) ? Errno.Success : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong IPageTableFormat.Attributes(Access access, MemoryType type, ulong preset)
    {
        if ((access & (Access.ReadWrite | Access.Execute)) == 0)
        {
            return 0;
        }

        // D says nothing in a leaf that cannot be written, and is left out there.
        ulong writes = (ulong)(access & Access.Write);
        ulong executes = (ulong)(access & Access.Execute);
        return (preset & ~(Dirty | ExecuteDisable)) | writes | (preset & (writes << 5))
            | (preset & ((executes << 61) ^ ExecuteDisable));
    }

    /// <inheritdoc/>
    static ulong IPageTableFormat.EncodeTable(ulong address, int level) => address | Present | Write | User | Accessed;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static bool IPageTableFormat.IsTable(ulong entry, int level) => (entry & (Present | PageSize)) == Present;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Access IPageTableFormat.AccessOf(ulong entry, int level, ulong preset) =>
        Access.Read | (Access)(entry & Write) | (Access)(((preset & ~entry) & ExecuteDisable) >> 61);

    /// <inheritdoc/>
    static bool IPageTableFormat.IsDirty(ulong entry, int level) => (entry & Dirty) != 0;

    /// <inheritdoc/>
    static ulong IPageTableFormat.ToClean(ulong entry, int level) => entry & ~Dirty;

    /// <inheritdoc/>
    static ulong IPageTableFormat.ToDirty(ulong entry, int level) => entry | Dirty;
}

/// <summary>4-level paging. IOVA bits 63:48 must equal bit 47, so the aperture is the lower half, [0, 2^47 - 1].</summary>
internal readonly struct X64Level4 : IX64Format
{
    /// <inheritdoc/>
    public static string Name => nameof(X64Level4);

    /// <inheritdoc/>
    public static int Levels => 4;

    /// <inheritdoc/>
    public static int ApertureBits => 47;
}

/// <summary>5-level paging. IOVA bits 63:57 must equal bit 56, so the aperture is the lower half, [0, 2^56 - 1].</summary>
internal readonly struct X64Level5 : IX64Format
{
    /// <inheritdoc/>
    public static string Name => nameof(X64Level5);

    /// <inheritdoc/>
    public static int Levels => 5;

    /// <inheritdoc/>
    public static int ApertureBits => 56;
}
