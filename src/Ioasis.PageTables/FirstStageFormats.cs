using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

// The RISC-V formats differ in numbers only; what is common is in RiscVEntry. Each is a structure of its own, and not one
// with a type parameter for the numbers, so that a stack trace and a profile name the format.

/// <summary>First stage, 32-bit IOVAs, which are not sign-extended: all 4 GiB can be mapped.</summary>
public readonly struct Sv32 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv32;

    /// <inheritdoc/>
    public static int Levels => 2;

    /// <inheritdoc/>
    public static int IndexBits => 10;

    /// <inheritdoc/>
    public static int RootIndexBits => 10;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 2;

    /// <inheritdoc/>
    public static int ApertureBits => 32;

    /// <inheritdoc/>
    public static int OutputBits => 34;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 0;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: false);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Attributes(Access access, MemoryType type, ulong preset) => RiscVEntry.Attributes(access, type, preset);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeLeaf(ulong address, ulong attributes) => RiscVEntry.EncodeLeaf(address, attributes);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong ToContiguous(ulong leaf) => RiscVEntry.ToContiguous(leaf);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong LeafAddress(ulong entry) => RiscVEntry.LeafAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong AttributesOf(ulong entry) => RiscVEntry.AttributesOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsContiguous(ulong entry) => RiscVEntry.IsContiguous(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeTable(ulong address) => RiscVEntry.EncodeTable(address);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong TableAddress(ulong entry) => RiscVEntry.TableAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPresent(ulong entry) => RiscVEntry.IsPresent(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTable(ulong entry) => RiscVEntry.IsTable(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Access AccessOf(ulong entry) => RiscVEntry.AccessOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MemoryType TypeOf(ulong entry) => RiscVEntry.TypeOf(entry);
}

/// <summary>First stage. IOVA bits 63:39 must equal bit 38, so the aperture is the lower half, [0, 2^38 - 1].</summary>
public readonly struct Sv39 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv39;

    /// <inheritdoc/>
    public static int Levels => 3;

    /// <inheritdoc/>
    public static int IndexBits => 9;

    /// <inheritdoc/>
    public static int RootIndexBits => 9;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 38;

    /// <inheritdoc/>
    public static int OutputBits => 56;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 16;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: false);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Attributes(Access access, MemoryType type, ulong preset) => RiscVEntry.Attributes(access, type, preset);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeLeaf(ulong address, ulong attributes) => RiscVEntry.EncodeLeaf(address, attributes);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong ToContiguous(ulong leaf) => RiscVEntry.ToContiguous(leaf);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong LeafAddress(ulong entry) => RiscVEntry.LeafAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong AttributesOf(ulong entry) => RiscVEntry.AttributesOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsContiguous(ulong entry) => RiscVEntry.IsContiguous(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeTable(ulong address) => RiscVEntry.EncodeTable(address);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong TableAddress(ulong entry) => RiscVEntry.TableAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPresent(ulong entry) => RiscVEntry.IsPresent(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTable(ulong entry) => RiscVEntry.IsTable(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Access AccessOf(ulong entry) => RiscVEntry.AccessOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MemoryType TypeOf(ulong entry) => RiscVEntry.TypeOf(entry);
}

/// <summary>First stage. IOVA bits 63:48 must equal bit 47, so the aperture is the lower half, [0, 2^47 - 1].</summary>
public readonly struct Sv48 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv48;

    /// <inheritdoc/>
    public static int Levels => 4;

    /// <inheritdoc/>
    public static int IndexBits => 9;

    /// <inheritdoc/>
    public static int RootIndexBits => 9;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 47;

    /// <inheritdoc/>
    public static int OutputBits => 56;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 16;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: false);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Attributes(Access access, MemoryType type, ulong preset) => RiscVEntry.Attributes(access, type, preset);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeLeaf(ulong address, ulong attributes) => RiscVEntry.EncodeLeaf(address, attributes);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong ToContiguous(ulong leaf) => RiscVEntry.ToContiguous(leaf);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong LeafAddress(ulong entry) => RiscVEntry.LeafAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong AttributesOf(ulong entry) => RiscVEntry.AttributesOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsContiguous(ulong entry) => RiscVEntry.IsContiguous(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeTable(ulong address) => RiscVEntry.EncodeTable(address);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong TableAddress(ulong entry) => RiscVEntry.TableAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPresent(ulong entry) => RiscVEntry.IsPresent(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTable(ulong entry) => RiscVEntry.IsTable(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Access AccessOf(ulong entry) => RiscVEntry.AccessOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MemoryType TypeOf(ulong entry) => RiscVEntry.TypeOf(entry);
}

/// <summary>First stage. IOVA bits 63:57 must equal bit 56, so the aperture is the lower half, [0, 2^56 - 1].</summary>
public readonly struct Sv57 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv57;

    /// <inheritdoc/>
    public static int Levels => 5;

    /// <inheritdoc/>
    public static int IndexBits => 9;

    /// <inheritdoc/>
    public static int RootIndexBits => 9;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 56;

    /// <inheritdoc/>
    public static int OutputBits => 56;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 16;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: false);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Attributes(Access access, MemoryType type, ulong preset) => RiscVEntry.Attributes(access, type, preset);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeLeaf(ulong address, ulong attributes) => RiscVEntry.EncodeLeaf(address, attributes);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong ToContiguous(ulong leaf) => RiscVEntry.ToContiguous(leaf);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong LeafAddress(ulong entry) => RiscVEntry.LeafAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong AttributesOf(ulong entry) => RiscVEntry.AttributesOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsContiguous(ulong entry) => RiscVEntry.IsContiguous(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeTable(ulong address) => RiscVEntry.EncodeTable(address);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong TableAddress(ulong entry) => RiscVEntry.TableAddress(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPresent(ulong entry) => RiscVEntry.IsPresent(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTable(ulong entry) => RiscVEntry.IsTable(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Access AccessOf(ulong entry) => RiscVEntry.AccessOf(entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MemoryType TypeOf(ulong entry) => RiscVEntry.TypeOf(entry);
}
