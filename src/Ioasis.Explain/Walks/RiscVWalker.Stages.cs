using Ioasis.RiscV.Architecture;
using static System.FormattableString;

namespace Ioasis.Explain.Walks;

/// <content>Both stages (Privileged specification, "Virtual Address Translation Process"), and MSI page tables.</content>
internal sealed partial class RiscVWalker
{
    private const int PageBits = 12;
    private const int IndexBits = 9;

    private ulong? FirstStage(ulong pointer)
    {
        int mode = TablePointer.Mode(pointer);
        if (mode == Iosatp.ModeBare)
        {
            Pass("first stage", "2.1.2.4", null, [pointer], [], "MODE is Bare: the first stage does not translate.");
            return Request.Address;
        }

        int levels = LevelsOf(mode);
        if (levels == 0)
        {
            Fail("first stage", "2.1.2.4", null, [pointer], [Field("MODE", (ulong)mode)], "MODE is reserved: the context is misconfigured.");
            return null;
        }

        int bits = PageBits + (levels * IndexBits);
        long sign = (long)Request.Address >> (bits - 1);
        if (sign is not (0 or -1))
        {
            Fail("address", "Privileged specification, Sv39 to Sv57", null, [Request.Address], [], Invariant($"Bits 63 to {bits - 1} of the address are not all alike: {CauseOf(Request.Access)}."));
            return null;
        }

        return Walk("first stage", TablePointer.Address(pointer), levels, 0, Request.Address, Request.Access, isSecond: false);
    }

    private ulong? SecondStage(ulong address, string what, FaultAccess access)
    {
        int mode = TablePointer.Mode(_iohgatp);
        if (mode == Iohgatp.ModeBare)
        {
            return address;
        }

        int levels = LevelsOf(mode);
        if (levels == 0 || _isGuest32)
        {
            if (levels == 0)
            {
                Fail("iohgatp", "2.1.2.2", null, [_iohgatp], [Field("MODE", (ulong)mode)], "MODE is reserved: DDT entry misconfigured (cause 259).");
            }
            else
            {
                Stop("Second stages of 32-bit guests are not decoded.");
            }

            return null;
        }

        int bits = PageBits + (levels * IndexBits) + 2;
        if (address >> bits != 0)
        {
            Fail("guest physical address", "Privileged specification, Sv39x4 to Sv57x4", null, [address], [], Invariant($"{what} is at 0x{address:x}, which has more than {bits} bits: guest page fault."));
            return null;
        }

        return Walk($"second stage for {what}", (_iohgatp & TablePointer.PpnMask) << PageBits, levels, 2, address, access, isSecond: true);
    }

    private ulong? Walk(string stage, ulong table, int levels, int rootBits, ulong address, FaultAccess access, bool isSecond)
    {
        for (int level = levels - 1; level >= 0; level--)
        {
            int extra = level == levels - 1 ? rootBits : 0;
            int shift = PageBits + (level * IndexBits);
            ulong index = (address >> shift) & ((1ul << (IndexBits + extra)) - 1);
            string name = Invariant($"{stage}, level {level}, entry {index}");
            ulong at = table + (index * 8);
            if (!isSecond)
            {
                if (SecondStage(at, name, FaultAccess.Read) is not { } translated)
                {
                    return null;
                }

                at = translated;
            }

            if (!TryRead(name, "Privileged specification, Sv39 to Sv57", at, 1, out ulong[] entry))
            {
                return null;
            }

            ulong value = entry[0];
            ulong next = (value & PageTableEntry.PpnMask) >> PageTableEntry.PpnShift << PageBits;
            if (Problem(value, level, access, isSecond) is { } problem)
            {
                Fail(name, "Privileged specification, Sv39 to Sv57", at, entry, FieldsOf(value), $"{problem} {(isSecond ? "guest " : "")}{CauseOf(access)}.");
                return null;
            }

            bool isLeaf = (value & PageTableEntry.LeafMask) != 0;
            int size = (value & PageTableEntry.NapotBit) != 0 ? 16 : shift;
            Pass(name, "Privileged specification, Sv39 to Sv57", at, entry, FieldsOf(value), isLeaf ? Invariant($"A leaf of {SizeName(size)}.") : "Leads to the next table.");
            if (isLeaf)
            {
                ulong mask = (1ul << size) - 1;
                return (next & ~mask) | (address & mask);
            }

            table = next;
        }

        return null;
    }

    // What is wrong with an entry, in the order in which hardware looks; null if nothing is.
    private string? Problem(ulong value, int level, FaultAccess access, bool isSecond)
    {
        bool isLeaf = (value & PageTableEntry.LeafMask) != 0;
        ulong pages = (1ul << (level * IndexBits)) - 1;
        bool updates = (_control & (isSecond ? DeviceTranslationControl.SecondStageAdUpdateBit : DeviceTranslationControl.FirstStageAdUpdateBit)) != 0;
        return (value & PageTableEntry.ValidBit) == 0 ? "V is 0: nothing is mapped here;"
            : (value & (PageTableEntry.ReadBit | PageTableEntry.WriteBit)) == PageTableEntry.WriteBit ? "W is 1 and R is 0, which is reserved;"
            : (value & PageTableEntry.ReservedMask) != 0 ? "reserved bits are set;"
            : !isLeaf && level == 0 ? "the entry of the last level is no leaf;"
            : !isLeaf ? ((value & (PageTableEntry.NapotBit | PageTableEntry.PbmtMask | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit | PageTableEntry.UserBit)) != 0
                ? "bits of leaves are set in an entry that leads to a table;" : null)
            : (value & PageTableEntry.NapotBit) != 0 && (level != 0 || ((value >> PageTableEntry.PpnShift) & 0xf) != PageTableEntry.Napot64KPpnCode) ? "N is 1, and the entry is none of 64 KiB;"
            : ((value >> PageTableEntry.PpnShift) & pages) != 0 ? "the page of a large leaf is not aligned to its size;"
            : (isSecond || Request.Pasid is null) && (value & PageTableEntry.UserBit) == 0 ? "U is 0: the page is not for users, and the request has a user's privilege;"
            : access == FaultAccess.Write && (value & PageTableEntry.WriteBit) == 0 ? "W is 0: the page may only be read;"
            : access == FaultAccess.Execute && (value & PageTableEntry.ExecuteBit) == 0 ? "X is 0;"
            : access is not (FaultAccess.Write or FaultAccess.Execute) && (value & PageTableEntry.ReadBit) == 0 ? "R is 0: the page may not be read;"
            : !updates && (value & PageTableEntry.AccessedBit) == 0 ? "A is 0, and the IOMMU does not set it;"
            : !updates && access == FaultAccess.Write && (value & PageTableEntry.DirtyBit) == 0 ? "D is 0, and the IOMMU does not set it;"
            : null;
    }

    private bool IsMessage(ulong[] context, ulong address) => _isExtended && TablePointer.Mode(context[4]) == Msiptp.ModeFlat
        && ((address >> PageBits) & ~context[5]) == (context[6] & ~context[5]);

    private ulong? Message(ulong[] context, ulong address)
    {
        // The bits of the page number that the mask names, put together (section 2.3.3).
        ulong index = 0;
        int bits = 0;
        for (int bit = 0; bit < 52; bit++)
        {
            if ((context[5] >> bit & 1) != 0)
            {
                index |= (address >> PageBits >> bit & 1) << bits++;
            }
        }

        ulong at = TablePointer.Address(context[4]) + (index * MsiPageTableEntry.Size);
        string name = Invariant($"MSI page table, entry {index}");
        if (!TryRead(name, "2.3.3", at, 2, out ulong[] entry))
        {
            return null;
        }

        ulong mode = (entry[0] >> MsiPageTableEntry.ModeShift) & MsiPageTableEntry.ModeMask;
        FaultField[] fields = [Bit("V", entry[0], MsiPageTableEntry.ValidBit), Field("M", mode), Field("page", PpnField.ToAddress(entry[0]))];
        if ((entry[0] & MsiPageTableEntry.ValidBit) == 0)
        {
            Fail(name, "2.3.3", at, entry, fields, "The address is one of interrupt files, and V is 0: MSI PTE not valid (cause 262).");
            return null;
        }

        if (mode != MsiPageTableEntry.ModeBasic)
        {
            Pass(name, "2.3.3", at, entry, fields, "The address is one of interrupt files.");
            Stop(mode == MsiPageTableEntry.ModeMrif ? "The message goes to a memory-resident interrupt file." : "M is reserved: MSI PTE misconfigured (cause 263).");
            return null;
        }

        Pass(name, "2.3.3", at, entry, fields, "The address is one of interrupt files: the message goes to this page.");
        return PpnField.ToAddress(entry[0]) | (address & 0xfff);
    }

    private static FaultField[] FieldsOf(ulong value) =>
    [
        Bit("V", value, PageTableEntry.ValidBit), Bit("R", value, PageTableEntry.ReadBit), Bit("W", value, PageTableEntry.WriteBit), Bit("X", value, PageTableEntry.ExecuteBit),
        Bit("U", value, PageTableEntry.UserBit), Bit("G", value, PageTableEntry.GlobalBit), Bit("A", value, PageTableEntry.AccessedBit), Bit("D", value, PageTableEntry.DirtyBit),
        Bit("N", value, PageTableEntry.NapotBit), Field("page", (value & PageTableEntry.PpnMask) >> PageTableEntry.PpnShift << PageBits),
    ];

    private static int LevelsOf(int mode) => mode switch
    {
        Iosatp.ModeSv39 => 3,
        Iosatp.ModeSv48 => 4,
        Iosatp.ModeSv57 => 5,
        _ => 0,
    };

    private static string CauseOf(FaultAccess access) => access switch
    {
        FaultAccess.Write => s_causes[2],
        FaultAccess.Execute => s_causes[0],
        _ => s_causes[1],
    };
}
