using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>How a guest writes a first stage of its own, and asks for it, on one kind of IOMMU.</summary>
internal abstract class GuestFirstStage
{
    /// <summary>Tables from the root to the one with the leaves.</summary>
    public abstract int Levels { get; }

    /// <summary>The kind of the hardware's information and of the structures for guests.</summary>
    public abstract uint HardwareInfoType { get; }

    /// <summary>Bytes of the hardware's information.</summary>
    public abstract int HardwareInfoSize { get; }

    /// <summary>What a guest writes of an IOMMU of a kind.</summary>
    public static GuestFirstStage Of(IommuSlot slot) => slot is VtdIommuSlot ? new VtdGuestFirstStage() : new RiscVGuestFirstStage();

    /// <summary>An entry that leads to a table of the guest, at a multiple of 4 KiB.</summary>
    public abstract ulong Table(ulong address);

    /// <summary>An entry that leads to a page of the guest that is read, written and was accessed.</summary>
    public abstract ulong Leaf(ulong address);

    /// <summary>Makes the domain of a table, on a second stage of the host.</summary>
    public abstract HardwarePageTable Allocate(
        IommuFd iommu, VfioDevice device, HardwarePageTable parent, ulong root, HwptAllocFlags flags = HwptAllocFlags.None);

    /// <summary>Has one page forgotten.</summary>
    public abstract void Invalidate(HardwarePageTable table, ulong address);

    /// <summary>Has one page forgotten, then asks for what is not there to be asked for.</summary>
    public abstract Errno TryInvalidateWrongly(HardwarePageTable table, ulong address, out int done);

    /// <summary>
    /// Writes a table in the first pages of the guest's memory, page 0 its root, in which one page of addresses leads to a page of that memory.
    /// </summary>
    /// <param name="store">Writes an entry: page, index, value.</param>
    /// <param name="start">Guest-physical address of page 0.</param>
    /// <param name="address">Below 1 GiB on RISC-V (Sv39, index 0 of the root), below 1 GiB here too.</param>
    /// <param name="page">The page that it leads to.</param>
    /// <param name="first">Page of the root.</param>
    public void Write(Action<int, int, ulong> store, ulong start, ulong address, int page, int first = 0)
    {
        for (int level = 0; level < Levels - 1; level++)
        {
            store(first + level, Index(address, level), Table(start + ((ulong)(first + level + 1) * 4096)));
        }

        Point(store, start, address, page, first);
    }

    /// <summary>Has an address whose tables are there lead to another page.</summary>
    public void Point(Action<int, int, ulong> store, ulong start, ulong address, int page, int first = 0) =>
        store(first + Levels - 1, Index(address, Levels - 1), Leaf(start + ((ulong)page * 4096)));

    private int Index(ulong address, int level) => (int)(address >> (12 + (9 * (Levels - 1 - level)))) & 511;

    private sealed class RiscVGuestFirstStage : GuestFirstStage
    {
        private const ulong Pscid = 7;

        public override int Levels => 3;

        public override uint HardwareInfoType => RiscVUapi.HardwareInfoType;

        public override int HardwareInfoSize => 16;

        public override ulong Table(ulong address) => (address >> 2) | 1;

        public override ulong Leaf(ulong address) => (address >> 2) | 0xd7;

        public override HardwarePageTable Allocate(
            IommuFd iommu, VfioDevice device, HardwarePageTable parent, ulong root, HwptAllocFlags flags = HwptAllocFlags.None)
        {
            IommuHwptRiscV data = new() { TranslationAttributes = Pscid << 12, FirstStageContext = (8ul << 60) | (root >> 12) };
            return iommu.AllocateNestedPageTable(device, parent, RiscVUapi.HwptDataType, data, flags: flags);
        }

        public override void Invalidate(HardwarePageTable table, ulong address) =>
            table.Invalidate(RiscVUapi.InvalidateDataType, (ReadOnlySpan<IommuInvalidateRiscV>)[Entry(address)]);

        // A fence is nothing to ask for.
        public override Errno TryInvalidateWrongly(HardwarePageTable table, ulong address, out int done) => table.InvalidateErrno(
            RiscVUapi.InvalidateDataType, (ReadOnlySpan<IommuInvalidateRiscV>)[Entry(address), new() { Word0 = 2 }], out done);

        // IOTINVAL.VMA with AV and PSCV.
        private static IommuInvalidateRiscV Entry(ulong address) =>
            new() { Word0 = 1 | (Pscid << 12) | (1ul << 32) | (1ul << 10), Word1 = (address >> 12) << 10 };
    }

    private sealed class VtdGuestFirstStage : GuestFirstStage
    {
        // P, R/W, U/S, A, D (VT-d specification, section 9.8).
        private const ulong Used = 0x67;

        public override int Levels => 4;

        public override uint HardwareInfoType => VtdUapi.HardwareInfoType;

        public override int HardwareInfoSize => 24;

        public override ulong Table(ulong address) => address | Used;

        public override ulong Leaf(ulong address) => address | Used;

        public override HardwarePageTable Allocate(
            IommuFd iommu, VfioDevice device, HardwarePageTable parent, ulong root, HwptAllocFlags flags = HwptAllocFlags.None)
        {
            IommuHwptVtdS1 data = new() { PageTableAddress = root, AddressWidth = 48 };
            return iommu.AllocateNestedPageTable(device, parent, VtdUapi.HwptDataType, data, flags: flags);
        }

        public override void Invalidate(HardwarePageTable table, ulong address) =>
            table.Invalidate(VtdUapi.InvalidateDataType, (ReadOnlySpan<IommuHwptVtdS1Invalidate>)[Entry(address)]);

        // All pages, from an address on.
        public override Errno TryInvalidateWrongly(HardwarePageTable table, ulong address, out int done) => table.InvalidateErrno(
            VtdUapi.InvalidateDataType,
            (ReadOnlySpan<IommuHwptVtdS1Invalidate>)[Entry(address), new() { Address = 4096, PageCount = ulong.MaxValue }],
            out done);

        private static IommuHwptVtdS1Invalidate Entry(ulong address) => new() { Address = address & ~0xffful, PageCount = 1 };
    }
}
