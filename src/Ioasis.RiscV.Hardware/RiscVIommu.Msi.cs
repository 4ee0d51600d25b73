using System.Numerics;
using System.Runtime.Intrinsics.X86;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>MSI page tables: the process to translate addresses of MSIs (section 2.3.3).</content>
public sealed partial class RiscVIommu
{
    // Bits of a guest page number that exist (section 2.1.3.6).
    private ulong GuestPageMask
    {
        get
        {
            int bits = _capabilities.Sv57x4 ? 59
                : _capabilities.Sv48x4 ? 50
                : _capabilities.Sv39x4 ? 41
                : _capabilities.Sv32x4 ? 34
                : _capabilities.PhysicalAddressSize;
            return (1ul << (bits - 12)) - 1;
        }
    }

    // Whether the page of a size around a guest address contains the page of a virtual interrupt file.
    private bool TouchesInterruptFile(in DeviceContextData device, ulong guestAddress, int sizeLog2) =>
        TablePointer.Mode(device.Msiptp) != Msiptp.ModeOff
        && (((guestAddress >> 12) ^ device.MsiAddressPattern) & ~device.MsiAddressMask & GuestPageMask
            & ~((1ul << (sizeLog2 - 12)) - 1)) == 0;

    // A larger page with an interrupt file in it translates alike only in parts.
    private int SizeWithoutInterruptFiles(in DeviceContextData device, ulong guestAddress, int sizeLog2)
    {
        while (sizeLog2 > 12 && TouchesInterruptFile(device, guestAddress, sizeLog2))
        {
            sizeLog2 = sizeLog2 switch { > 48 => 48, > 39 => 39, > 30 => 30, > 22 => 21, _ => 12 };
        }

        return sizeLog2;
    }

    /// <summary>Translates the address of a virtual interrupt file. A failure is in <c>request.Cause</c>.</summary>
    private bool TranslateMsi(Configuration configuration, ref Request request, in DeviceContextData device, ref Outcome outcome)
    {
        ulong address = outcome.GuestAddress;
        ulong file = Extract(address >> 12, device.MsiAddressMask & GuestPageMask);
        ulong entryAddress = TablePointer.Address(device.Msiptp) | (file * MsiPageTableEntry.Size);
        Span<ulong> entry = stackalloc ulong[2];
        switch (ReadInterruptFile(configuration, ref request, device, address >> 12, entryAddress, entry))
        {
            case MemoryStatus.AccessFault:
                request.Cause = FaultCause.MsiPteLoadAccessFault;
                return false;
            case MemoryStatus.DataCorruption:
                request.Cause = FaultCause.MsiPtDataCorruption;
                return false;
        }

        if ((entry[0] & MsiPageTableEntry.ValidBit) == 0)
        {
            request.Cause = FaultCause.MsiPteNotValid;
            return false;
        }

        outcome.IsMsi = true;
        int mode = (int)((entry[0] >> MsiPageTableEntry.ModeShift) & MsiPageTableEntry.ModeMask);
        bool custom = (entry[0] & MsiPageTableEntry.CustomBit) != 0;
        if (!custom && mode == MsiPageTableEntry.ModeBasic
            && (entry[0] & MsiPageTableEntry.BasicReservedMask) == 0)
        {
            outcome.Address = PpnField.ToAddress(entry[0]) | (address & 0xfff);
        }
        else if (!custom && mode == MsiPageTableEntry.ModeMrif && _capabilities.MsiMrif
            && (entry[0] & MsiPageTableEntry.MrifReservedMask0) == 0 && (entry[1] & MsiPageTableEntry.MrifReservedMask1) == 0)
        {
            outcome.IsMrif = true;
            outcome.MrifAddress = ((entry[0] >> MsiPageTableEntry.MrifAddressShift) & MsiPageTableEntry.MrifAddressMask) << 9;
            if ((Options.Deviations & ReferenceDeviations.MrifAddress47Bits) != 0)
            {
                outcome.MrifAddress &= (1ul << 47) - 1;
            }

            outcome.NoticeAddress = PpnField.ToAddress(entry[1]);
            outcome.NoticeId = (uint)((entry[1] & MsiPageTableEntry.NoticeIdLowMask)
                | (((entry[1] >> MsiPageTableEntry.NoticeId10Shift) & 1) << 10));
            outcome.Address = outcome.NoticeAddress;
        }
        else
        {
            request.Cause = FaultCause.MsiPteMisconfigured;
            return false;
        }

        // As a second-stage PTE with R=W=U=1 and X=0; A and D count as set.
        outcome.Second.Pte = PageTableEntry.ReadBit | PageTableEntry.WriteBit | PageTableEntry.UserBit
            | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;
        outcome.Second.SizeLog2 = outcome.Second.SpanLog2 = 12;
        outcome.Second.WasDirty = true;
        if (request.IsExecute && request.CheckPermissions)
        {
            request.Cause = FaultCause.InstructionAccessFault;
            return false;
        }

        // The debug interface has no way to report an MRIF (chapter 4).
        if (outcome.IsMrif && request.ForDebug)
        {
            request.Cause = FaultCause.TransactionTypeDisallowed;
            return false;
        }

        return true;
    }

    // extract(x, y) of section 2.3.3.
    private static ulong Extract(ulong value, ulong mask)
    {
        if (Bmi2.X64.IsSupported)
        {
            return Bmi2.X64.ParallelBitExtract(value, mask);
        }

        ulong result = 0;
        for (int at = 0; mask != 0; at++)
        {
            result |= ((value >> BitOperations.TrailingZeroCount(mask)) & 1) << at;
            mask &= mask - 1;
        }

        return result;
    }
}
