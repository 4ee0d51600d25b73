using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Benchmarks.Hardware;

/// <summary>Which tables a device's requests go through.</summary>
public enum Stages
{
    /// <summary>First stage, three levels.</summary>
    Sv39,

    /// <summary>Both stages, three levels each.</summary>
    Sv39OverSv39x4,

    /// <summary>Both stages, four levels each.</summary>
    Sv48OverSv48x4,
}

/// <summary>
/// An IOMMU over memory of this process, with one device whose 512 pages of 4 KiB lie at random in a gigabyte of IOVAs, and a
/// command queue. Tables have A and D set, so nothing is written while translating.
/// </summary>
internal sealed class HardwareBed : IDisposable
{
    public const uint Device = 8;
    public const uint Pscid = 1;
    public const uint Gscid = 1;
    public const int PageCount = 512;

    private const ulong Directory = 0x10_0000;
    private const ulong CommandQueue = 0x20_0000;
    private const int CommandQueueLog2 = 8;
    private const ulong FenceData = 0x30_0000;
    private const ulong GuestData = 0x4000_0000;
    private const ulong Data = 0x8000_0000;
    private const ulong Leaf = PageTableEntry.ValidBit | PageTableEntry.ReadBit | PageTableEntry.WriteBit | PageTableEntry.UserBit
        | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;

    private readonly SparsePhysicalMemory _memory = new();
    private readonly int _levels;
    private readonly ulong _firstRoot;
    private readonly ulong _secondRoot;
    private ulong _nextTable = 0x100_0000;
    private uint _tail;

    public HardwareBed(Stages stages, RiscVIommuOptions options)
    {
        Iommu = new(options, _memory);
        Iommu.Write64(RegisterOffset.CommandQueueBase, PpnField.FromAddress(CommandQueue) | (CommandQueueLog2 - 1));
        Iommu.Write32(RegisterOffset.CommandQueueCsr, QueueCsr.EnableBit);
        Iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(Directory) | (ulong)IommuMode.OneLevel);

        bool nested = stages != Stages.Sv39;
        _levels = stages == Stages.Sv48OverSv48x4 ? 4 : 3;
        _secondRoot = nested ? Allocate(4) : 0;
        _firstRoot = Allocate(1);
        AddDevice(Device, Pscid, _firstRoot);

        foreach ((Iova page, int i) in ChoosePages().Select(static (page, i) => (page, i)))
        {
            Map(_firstRoot, page.Value, (ulong)i << 12);
            Pages[i] = page;
        }
    }

    public RiscVIommu Iommu { get; }

    public Iova[] Pages { get; } = new Iova[PageCount];

    /// <summary>Adds a device with the same kind of tables, its own PSCID and <paramref name="pages"/> pages from IOVA 0 on.</summary>
    public void AddDevice(uint device, uint pscid, int pages)
    {
        ulong root = Allocate(1);
        AddDevice(device, pscid, root);
        for (int i = 0; i < pages; i++)
        {
            Map(root, (ulong)i << 12, (ulong)i << 12);
        }
    }

    /// <summary>Writes commands and the tail: when it returns they are done.</summary>
    public void Submit(Command first, Command second)
    {
        Put(first);
        Put(second);
        Iommu.Write32(RegisterOffset.CommandQueueTail, _tail);
    }

    /// <summary>Writes one command and the tail.</summary>
    public void Submit(Command command)
    {
        Put(command);
        Iommu.Write32(RegisterOffset.CommandQueueTail, _tail);
    }

    /// <summary>Pages at random in the first gigabyte, none twice.</summary>
    public static Iova[] ChoosePages()
    {
        Random random = new(1);
        HashSet<ulong> taken = [];
        while (taken.Count < PageCount)
        {
            _ = taken.Add((ulong)random.Next(1 << 18) << 12);
        }

        return [.. taken.Select(static page => new Iova(page))];
    }

    /// <summary>Reads in pages at random.</summary>
    public static DmaRequest[] RequestsFor(Iova[] pages)
    {
        Random random = new(2);
        DmaRequest[] requests = new DmaRequest[PageCount];
        for (int i = 0; i < requests.Length; i++)
        {
            requests[i] = new(new(Device), pages[random.Next(PageCount)] + (ulong)random.Next(4096));
        }

        return requests;
    }

    /// <summary>Translates each page once.</summary>
    public static void Warm(IDmaPort iommu, Iova[] pages)
    {
        foreach (Iova page in pages)
        {
            iommu.Translate(new(new(Device), page), out DmaTranslation translation);
            if (translation.Status != DmaStatus.Success)
            {
                throw new InvalidOperationException($"{page}: {translation}");
            }
        }
    }

    public static Command Fence { get; } = Command.Fence(FenceData, 1);

    public void Dispose() => _memory.Dispose();

    private void Put(Command command)
    {
        _ = _memory.Write64(new(CommandQueue + (_tail * 16ul)), command.Low);
        _ = _memory.Write64(new(CommandQueue + (_tail * 16ul) + 8), command.High);
        _tail = (_tail + 1) & ((1u << CommandQueueLog2) - 1);
    }

    private void AddDevice(uint device, uint pscid, ulong root)
    {
        ulong mode = _levels == 4 ? (ulong)Iosatp.ModeSv48 : Iosatp.ModeSv39;
        ulong context = Directory + (device * 64ul);
        Store(context + DeviceContextOffset.Iohgatp, _secondRoot == 0
            ? 0
            : (mode << TablePointer.ModeShift) | ((ulong)Gscid << Iohgatp.GscidShift) | (_secondRoot >> 12));
        Store(context + DeviceContextOffset.TranslationAttributes, (ulong)pscid << DeviceTranslationAttributes.PscidShift);
        Store(context + DeviceContextOffset.FirstStageContext, (mode << TablePointer.ModeShift) | (root >> 12));
        Store(context, DeviceTranslationControl.ValidBit);
    }

    private void Map(ulong root, ulong iova, ulong offset)
    {
        bool nested = _secondRoot != 0;
        Set(root, iova, (nested ? GuestData : Data) + offset, rootMask: 511, nested);
        if (nested)
        {
            Set(_secondRoot, GuestData + offset, Data + offset, rootMask: 2047, guestTables: false);
        }
    }

    private void Set(ulong root, ulong address, ulong target, ulong rootMask, bool guestTables)
    {
        ulong table = root;
        for (int level = _levels - 1; ; level--)
        {
            if (guestTables)
            {
                // First-stage tables lie where guest-physical and physical addresses agree.
                Set(_secondRoot, table, table, 2047, guestTables: false);
            }

            ulong entry = table + (((address >> (12 + (9 * level))) & (level == _levels - 1 ? rootMask : 511)) * 8);
            if (level == 0)
            {
                Store(entry, PpnField.FromAddress(target) | Leaf);
                return;
            }

            _ = _memory.Read64(new(entry), out ulong value);
            if (value == 0)
            {
                value = PpnField.FromAddress(Allocate(1)) | PageTableEntry.ValidBit;
                Store(entry, value);
            }

            table = PpnField.ToAddress(value);
        }
    }

    private ulong Allocate(int pages)
    {
        ulong size = (ulong)pages * 4096;
        ulong address = (_nextTable + size - 1) / size * size;
        _nextTable = address + size;
        return address;
    }

    private void Store(ulong address, ulong value) => _ = _memory.Write64(new(address), value);
}
