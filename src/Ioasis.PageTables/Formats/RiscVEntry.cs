using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Formats;

/// <summary>
/// A RISC-V page-table entry (privileged specification, "Sv39", "Svnapot", "Svpbmt"; the hypervisor extension uses the same
/// for the second stage):
/// <code>
///  63  62:61  60:54     53:10   9:8  7 6 5 4 3 2 1 0
///  N   PBMT   reserved  PPN     RSW  D A G U X W R V
/// </code>
/// An entry of Sv32 is the low half, with a PPN of 22 bits. Reserved bits are 0, W without R is reserved.
/// </summary>
internal static class RiscVEntry
{
    public const ulong Valid = 1 << 0;
    public const ulong Read = 1 << 1;
    public const ulong Write = 1 << 2;
    public const ulong Execute = 1 << 3;
    public const ulong User = 1 << 4;
    public const ulong Accessed = 1 << 6;
    public const ulong Dirty = 1 << 7;
    public const ulong Napot = 1ul << 63;
    public const int MemoryTypeShift = 61;
    public const ulong MemoryTypeMask = 3ul << MemoryTypeShift;

    // The PPN starts at bit 10 and counts pages of 2^12 bytes: an entry holds the address shifted right by 2.
    public const int AddressShift = 2;
    public const ulong AddressMask = 0x00ff_ffff_ffff_f000;

    // Svnapot, 64 KiB: ppn[3:0] = 1000.
    public const ulong NapotPpnMask = 0xful << 10;
    public const ulong NapotPpn64K = 0x8ul << 10;

    private const ulong LeafBits = Read | Write | Execute;

    // Second-stage leaves have U always; requests without PASID are unprivileged and need it in first-stage ones (RISC-V IOMMU
    // specification, section 3.3). A is preset in either case.
    public static Errno TryConfigure(
        PageTableOptions options, bool userPages, bool hasExtensions, out FormatSettings settings)
    {
        RiscVTableOptions? own = options as RiscVTableOptions;
        bool napot = own?.Napot ?? false;
        bool memoryTypes = own?.MemoryTypes ?? false;
        settings = new(
            Valid | Accessed | (userPages ? User : 0) | (options.HardwareDirty ? 0 : Dirty), memoryTypes, napot);
        bool isOurs = own is not null || options.GetType() == typeof(PageTableOptions);
        return isOurs && (hasExtensions || !(napot || memoryTypes)) ? Errno.Success : Errno.InvalidArgument;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Attributes(Access access, MemoryType type, ulong preset)
    {
        ulong bits = ((ulong)access << 1) & LeafBits;
        if (bits == 0)
        {
            return 0;
        }

        // Write implies read. D says nothing in a leaf that cannot be written, and is left out there.
        ulong writes = (bits & Write) >> 2;
        bits |= writes << 1;
        return bits | (preset & ~Dirty) | (preset & (writes << 7)) | ((ulong)type << MemoryTypeShift);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong EncodeLeaf(ulong address, ulong attributes) => (address >> AddressShift) | attributes;

    public static ulong ToContiguous(ulong leaf) => (leaf & ~NapotPpnMask) | NapotPpn64K | Napot;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong LeafAddress(ulong entry)
    {
        ulong address = (entry << AddressShift) & AddressMask;
        return IsContiguous(entry) ? address & ~0xfffful : address;
    }

    public static ulong AttributesOf(ulong entry) => entry & ~((AddressMask >> AddressShift) | Napot);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsContiguous(ulong entry) => (long)entry < 0;

    public static ulong EncodeTable(ulong address) => (address >> AddressShift) | Valid;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong TableAddress(ulong entry) => (entry << AddressShift) & AddressMask;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPresent(ulong entry) => (entry & Valid) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTable(ulong entry) => (entry & (Valid | LeafBits)) == Valid;

    public static Access AccessOf(ulong entry) => (Access)((entry & LeafBits) >> 1);

    public static MemoryType TypeOf(ulong entry) => (MemoryType)((entry & MemoryTypeMask) >> MemoryTypeShift);
}
