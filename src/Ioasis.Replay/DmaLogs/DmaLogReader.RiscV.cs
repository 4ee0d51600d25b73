using Ioasis.Primitives;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.DmaLogs;

// QEMU's riscv-iommu: riscv_iommu_*.
internal sealed partial class DmaLogReader
{
    private bool RiscV(ReadOnlySpan<byte> name, TextCursor cursor, long timeNs, int line)
    {
        if (name.SequenceEqual("riscv_iommu_dma"u8))
        {
            // ID: translate BUS:DEV.FN #pasid RO|WR iova -> pa
            if (!cursor.SkipPast("translate "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("#"u8) || !cursor.TryDecimal(out ulong pasid) || !cursor.Skip(" "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> access = cursor.Word();
            cursor.SkipSpaces();
            if (!cursor.TryHex(out ulong iova) || !cursor.Skip(" -> "u8) || !cursor.TryHex(out ulong physical) || access.Length != 2
                || !TryDevice(device, out int index))
            {
                return false;
            }

            // A refused access is logged as a fault and then with what was asked for, or 0, as its address.
            bool faulted = physical == 0 || (_fault.Pending && _fault.Device == index && _fault.Iova == iova);
            _fault.Pending = false;
            Add(new()
            {
                TimeNs = timeNs,
                Iova = iova,
                Physical = faulted ? 0 : physical,
                Line = line,
                Device = index,
                Access = access[0] == (byte)'W' ? Access.Write : access[0] == (byte)'N' ? Access.None : access[1] == (byte)'W' ? Access.Write : Access.Read,
                Outcome = faulted ? DmaOutcome.Faulted : DmaOutcome.Translated,
                SizeLog2 = 12,
                Pasid = (uint)Math.Min(pasid, uint.MaxValue),
            });
            return true;
        }

        if (name.SequenceEqual("riscv_iommu_cmd"u8))
        {
            // ID: command low high
            if (!cursor.SkipPast("command "u8) || !cursor.TryHex(out ulong low) || !cursor.Skip(" "u8) || !cursor.TryHex(out ulong high))
            {
                return false;
            }

            RiscVInvalidation(timeNs, low, high);
            return true;
        }

        if (name.SequenceEqual("riscv_iommu_flt"u8))
        {
            // ID: fault BUS:DEV.FN reason: record iova: address
            if (!cursor.SkipPast("fault "u8))
            {
                return false;
            }

            ReadOnlySpan<byte> device = cursor.Word();
            if (!cursor.SkipPast("iova: "u8) || !cursor.TryHex(out ulong iova) || !TryDevice(device, out int index))
            {
                return false;
            }

            _fault = new() { Pending = true, Device = index, Iova = iova };
        }

        return true;
    }

    // A command: opcode in bits 0 to 6, func3 in 7 to 9, AV in 10, PSCID in 12 to 31, PSCV in 32 of the first word; the address in
    // bits 10 to 61 of the second (RISC-V IOMMU specification, section 3.1.1).
    private void RiscVInvalidation(long timeNs, ulong low, ulong high)
    {
        bool firstStage = (low & 0x3ff) == 1;
        bool address = (low & (1ul << 10)) != 0;
        bool space = (low & (1ul << 32)) != 0;
        InvalidationScope scope = !firstStage || !space ? InvalidationScope.Other : address ? InvalidationScope.Pages : InvalidationScope.Domain;
        Invalidation(timeNs, RiscVCommand(low), scope, (uint)(low >> 12) & 0xfffff, (high >> 10) << 12, 12);
    }

    // Opcode in bits 0 to 6, func3 in bits 7 to 9, AV in bit 10 (RISC-V IOMMU specification, section 3.1).
    private static string RiscVCommand(ulong low)
    {
        bool address = (low & (1ul << 10)) != 0;
        return (low & 0x7f, (low >> 7) & 7) switch
        {
            (1, 0) => address ? "IOTINVAL.VMA address" : "IOTINVAL.VMA",
            (1, 1) => address ? "IOTINVAL.GVMA address" : "IOTINVAL.GVMA",
            (2, 0) => "IOFENCE.C",
            (3, 0) => "IODIR.INVAL_DDT",
            (3, 1) => "IODIR.INVAL_PDT",
            (4, 0) => "ATS.INVAL",
            (4, 1) => "ATS.PRGR",
            _ => "other command",
        };
    }
}
