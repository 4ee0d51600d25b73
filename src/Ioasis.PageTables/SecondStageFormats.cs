using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

// The RISC-V formats differ in numbers only; what is common is in RiscVEntry. Each is a structure of its own, and not one
// with a type parameter for the numbers, so that a stack trace and a profile name the format.

/// <summary>Second stage: guest physical addresses of 34 bits, zero-extended; a root of 16 KiB.</summary>
public readonly struct Sv32x4 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv32x4;

    /// <inheritdoc/>
    public static int Levels => 2;

    /// <inheritdoc/>
    public static int IndexBits => 10;

    /// <inheritdoc/>
    public static int RootIndexBits => 12;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 2;

    /// <inheritdoc/>
    public static int ApertureBits => 34;

    /// <inheritdoc/>
    public static int OutputBits => 34;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 0;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: true);

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

/// <summary>Second stage: guest physical addresses of 41 bits, zero-extended; a root of 16 KiB.</summary>
public readonly struct Sv39x4 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv39x4;

    /// <inheritdoc/>
    public static int Levels => 3;

    /// <inheritdoc/>
    public static int IndexBits => 9;

    /// <inheritdoc/>
    public static int RootIndexBits => 11;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 41;

    /// <inheritdoc/>
    public static int OutputBits => 56;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 16;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: true);

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

/// <summary>Second stage: guest physical addresses of 50 bits, zero-extended; a root of 16 KiB.</summary>
public readonly struct Sv48x4 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv48x4;

    /// <inheritdoc/>
    public static int Levels => 4;

    /// <inheritdoc/>
    public static int IndexBits => 9;

    /// <inheritdoc/>
    public static int RootIndexBits => 11;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 50;

    /// <inheritdoc/>
    public static int OutputBits => 56;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 16;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: true);

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

/// <summary>Second stage: guest physical addresses of 59 bits, zero-extended; a root of 16 KiB.</summary>
public readonly struct Sv57x4 : IPageTableFormat
{
    /// <inheritdoc/>
    public static PageTableFormat Format => PageTableFormat.Sv57x4;

    /// <inheritdoc/>
    public static int Levels => 5;

    /// <inheritdoc/>
    public static int IndexBits => 9;

    /// <inheritdoc/>
    public static int RootIndexBits => 11;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 59;

    /// <inheritdoc/>
    public static int OutputBits => 56;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 16;

    /// <inheritdoc/>
    public static ulong DirtyBit => RiscVEntry.Dirty;

    /// <inheritdoc/>
    public static ulong Preset(PageTableOptions options) => RiscVEntry.Preset(options, secondStage: true);

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
