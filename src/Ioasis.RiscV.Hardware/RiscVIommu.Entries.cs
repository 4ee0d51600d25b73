using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Page-table entries: how they are read and updated, and what they permit.</content>
public sealed partial class RiscVIommu
{
    // Sv39 to Sv57 want the upper bits to be copies of the highest used one; with SXL they are 0 (section 2.1.3.1).
    private static bool IsInFirstStageRange(ulong address, int bits, bool sxl) => sxl
        ? address >> 32 == 0
        : (ulong)((long)(address << (64 - bits)) >> (64 - bits)) == address;

    private MemoryStatus ReadEntry(ref Request request, ulong address, bool bigEndian, int sizeLog2, out ulong entry)
    {
        request.MemoryReads++;
        if (sizeLog2 == 3)
        {
            return ReadDoubleword(address, bigEndian, out entry);
        }

        MemoryStatus status = ReadWord(address, bigEndian, out uint word);
        entry = word;
        return status;
    }

    // Compare-and-swap of the entry as it was read, with bits added (section 2.4).
    private MemoryStatus UpdateEntry(ulong address, bool bigEndian, int sizeLog2, ulong entry, ulong update, out bool changed)
    {
        _ = Injection.Hit(InjectionKind.MemoryWrite);
        ulong desired = entry | update;
        if (sizeLog2 == 3)
        {
            ulong expected = bigEndian ? BinaryPrimitives.ReverseEndianness(entry) : entry;
            desired = bigEndian ? BinaryPrimitives.ReverseEndianness(desired) : desired;
            MemoryStatus status = _memory.CompareExchange64(new(address), expected, desired, out ulong observed);
            changed = observed != expected;
            return status;
        }

        uint expectedWord = bigEndian ? BinaryPrimitives.ReverseEndianness((uint)entry) : (uint)entry;
        uint desiredWord = bigEndian ? BinaryPrimitives.ReverseEndianness((uint)desired) : (uint)desired;
        MemoryStatus wordStatus = _memory.CompareExchange32(new(address), expectedWord, desiredWord, out uint observedWord);
        changed = observedWord != expectedWord;
        return wordStatus;
    }

    // V=0, W without R, or something that is reserved for future standard use.
    private bool IsReserved(ulong entry)
    {
        if ((entry & PageTableEntry.ValidBit) == 0
            || (entry & (PageTableEntry.ReadBit | PageTableEntry.WriteBit)) == PageTableEntry.WriteBit)
        {
            return true;
        }

        ulong reserved = PageTableEntry.ReservedMask
            | (_capabilities.Svrsw60t59b ? 0 : PageTableEntry.Rsw60t59bMask)
            | (_capabilities.Svpbmt ? 0 : PageTableEntry.PbmtMask);
        return (entry & reserved) != 0 || (entry & PageTableEntry.PbmtMask) == PageTableEntry.PbmtMask;
    }

    // D, A, U and PBMT of an entry that points to a table are reserved.
    private static bool IsReservedPointer(ulong entry) => (entry & (PageTableEntry.PbmtMask
        | PageTableEntry.DirtyBit | PageTableEntry.AccessedBit | PageTableEntry.UserBit)) != 0;

    private static bool IsFirstStagePermitted(in Request request, in FirstStage stage, ulong entry)
    {
        if (request.CheckPermissions
            && ((request.IsExecute && (entry & PageTableEntry.ExecuteBit) == 0)
                || (request.IsRead && (entry & PageTableEntry.ReadBit) == 0)
                || (request.IsWrite && (entry & PageTableEntry.WriteBit) == 0)))
        {
            return false;
        }

        // A supervisor never executes user pages, and touches them only with SUM (section 2.2.3.1).
        bool user = (entry & PageTableEntry.UserBit) != 0;
        return request.Supervisor
            ? !user || (!request.IsExecute && stage.SupervisorUserMemory)
            : user;
    }

    private static bool IsSecondStagePermitted(SecondStageAccess access, ulong entry) =>
        (entry & PageTableEntry.UserBit) != 0
        && (!access.CheckPermissions
            || ((!access.IsExecute || (entry & PageTableEntry.ExecuteBit) != 0)
                && (!access.IsRead || (entry & PageTableEntry.ReadBit) != 0)
                && (!access.IsWrite || (entry & PageTableEntry.WriteBit) != 0)));

    // Superpages are aligned; of NAPOT only 64 KiB exists.
    private static bool IsAligned(ulong entry, int level, Scheme scheme)
    {
        ulong ppn = (entry & PageTableEntry.PpnMask) >> PageTableEntry.PpnShift;
        return level == 0
            ? (entry & PageTableEntry.NapotBit) == 0 || (ppn & 0xf) == PageTableEntry.Napot64KPpnCode
            : (ppn & ((1ul << (level * scheme.LevelBits)) - 1)) == 0;
    }

    // D matters for stores that the page permits; an ATS request may ask for more than it gets.
    private static ulong MissingBits(ulong entry, bool stores)
    {
        ulong wanted = PageTableEntry.AccessedBit
            | (stores && (entry & PageTableEntry.WriteBit) != 0 ? PageTableEntry.DirtyBit : 0);
        return wanted & ~entry;
    }

    private static Leaf MakeLeaf(ulong entry, ulong address, int level, Scheme scheme)
    {
        Leaf leaf = default;
        leaf.Pte = entry;
        leaf.SizeLog2 = scheme.LevelShift(level);
        leaf.SpanLog2 = (entry & PageTableEntry.NapotBit) != 0 ? 16 : leaf.SizeLog2;
        ulong offset = (1ul << leaf.SpanLog2) - 1;
        leaf.Address = (PpnField.ToAddress(entry) & ~offset) | (address & offset);
        return leaf;
    }

    private static StageStatus ToStageStatus(MemoryStatus status) =>
        status == MemoryStatus.AccessFault ? StageStatus.AccessFault : StageStatus.DataCorruption;
}
