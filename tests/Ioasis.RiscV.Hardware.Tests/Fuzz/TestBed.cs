using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware.Tests.Fuzz;

/// <summary>
/// A platform for tests: memory, an IOMMU with a one-level directory and a command queue, and a page table builder which is
/// no more than these tests need.
/// </summary>
internal sealed class TestBed : IDisposable
{
    private const ulong Directory = 0x10_0000;
    private const ulong CommandQueue = 0x20_0000;
    private const int CommandQueueLog2 = 8;
    private const ulong FirstTable = 0x100_0000;
    private const ulong Leaf = PageTableEntry.ValidBit | PageTableEntry.ReadBit | PageTableEntry.WriteBit | PageTableEntry.UserBit
        | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;

    private readonly SparsePhysicalMemory _backing = new();
    private ulong _nextTable = FirstTable;
    private uint _tail;

    public TestBed(RiscVIommuOptions options, Func<SparsePhysicalMemory, IPhysicalMemory>? wrap = null)
    {
        Memory = wrap?.Invoke(_backing) ?? _backing;
        Iommu = new(options, Memory);
        Iommu.Write64(RegisterOffset.CommandQueueBase, PpnField.FromAddress(CommandQueue) | (CommandQueueLog2 - 1));
        Iommu.Write32(RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit);
        Iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(Directory) | (ulong)IommuMode.OneLevel);
    }

    public IPhysicalMemory Memory { get; }

    public RiscVIommu Iommu { get; }

    /// <summary>Puts commands into the queue and tells the IOMMU. When it returns they are done.</summary>
    public void Submit(params ReadOnlySpan<Command> commands)
    {
        foreach (Command command in commands)
        {
            _backing.Write64(new(CommandQueue + (_tail * 16ul)), command.Low).ShouldBe(MemoryStatus.Success);
            _backing.Write64(new(CommandQueue + (_tail * 16ul) + 8), command.High).ShouldBe(MemoryStatus.Success);
            _tail = (_tail + 1) & ((1u << CommandQueueLog2) - 1);
        }

        Iommu.Write32(RegisterOffset.CommandQueueTail, _tail);
        Iommu.Read32(RegisterOffset.CommandQueueHead).ShouldBe(_tail);
    }

    /// <summary>Makes a device context with Sv39 and, if wanted, Sv39x4.</summary>
    public Space AddDevice(uint deviceId, uint pscid, uint? gscid)
    {
        ulong context = Directory + (deviceId * 64ul);
        Space space = new(this, Allocate(1), gscid is null ? 0 : Allocate(4));
        if (gscid is uint guest)
        {
            Store(context + DeviceContextOffset.Iohgatp, ((ulong)Iohgatp.ModeSv39x4 << TablePointer.ModeShift) | ((ulong)guest << Iohgatp.GscidShift) | (space.SecondRoot >> 12));
        }

        Store(context + DeviceContextOffset.TranslationAttributes, (ulong)pscid << DeviceTranslationAttributes.PscidShift);
        Store(context + DeviceContextOffset.FirstStageContext, ((ulong)Iosatp.ModeSv39 << TablePointer.ModeShift) | (space.FirstRoot >> 12));
        Store(context, DeviceTranslationControl.ValidBit);
        return space;
    }

    public void Store(ulong address, ulong value) => Memory.Write64(new(address), value).ShouldBe(MemoryStatus.Success);

    public void Dispose() => _backing.Dispose();

    private ulong Allocate(int pages)
    {
        ulong size = (ulong)pages * 4096;
        ulong address = (_nextTable + size - 1) / size * size;
        _nextTable = address + size;
        return address;
    }

    /// <summary>The address space of a device.</summary>
    internal sealed class Space(TestBed bed, ulong firstRoot, ulong secondRoot)
    {
        public ulong FirstRoot => firstRoot;

        public ulong SecondRoot => secondRoot;

        /// <summary>Maps a page of 4 KiB. With a second stage, <paramref name="target"/> is guest-physical.</summary>
        /// <returns>Where the leaf entry is.</returns>
        public ulong Map(ulong iova, ulong target)
        {
            ulong entry = Walk(firstRoot, iova, rootIndexMask: 511, guestTables: secondRoot != 0);
            bed.Store(entry, PpnField.FromAddress(target) | Leaf);
            return entry;
        }

        /// <summary>Maps a guest-physical page of 4 KiB.</summary>
        /// <returns>Where the leaf entry is.</returns>
        public ulong MapGuest(ulong guestAddress, ulong physical)
        {
            ulong entry = Walk(secondRoot, guestAddress, rootIndexMask: 2047, guestTables: false);
            bed.Store(entry, PpnField.FromAddress(physical) | Leaf);
            return entry;
        }

        public static ulong LeafTo(ulong physical) => PpnField.FromAddress(physical) | Leaf;

        // Tables of the first stage lie at guest-physical addresses equal to their physical ones.
        private ulong Walk(ulong root, ulong address, ulong rootIndexMask, bool guestTables)
        {
            ulong table = root;
            if (guestTables)
            {
                _ = MapGuest(table, table);
            }

            for (int level = 2; level > 0; level--)
            {
                ulong entry = table + (((address >> (12 + (9 * level))) & (level == 2 ? rootIndexMask : 511)) * 8);
                bed.Memory.Read64(new(entry), out ulong value).ShouldBe(MemoryStatus.Success);
                if (value == 0)
                {
                    value = PpnField.FromAddress(bed.Allocate(1)) | PageTableEntry.ValidBit;
                    bed.Store(entry, value);
                }

                table = PpnField.ToAddress(value);
                if (guestTables)
                {
                    _ = MapGuest(table, table);
                }
            }

            return table + (((address >> 12) & 511) * 8);
        }
    }
}
