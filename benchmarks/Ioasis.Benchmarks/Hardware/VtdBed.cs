using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks.Hardware;

/// <summary>Which tables of VT-d a device's requests go through, in scalable mode; four levels each.</summary>
public enum VtdStages
{
    /// <summary>A second stage.</summary>
    Second,

    /// <summary>A first stage.</summary>
    First,

    /// <summary>A first stage behind a second one.</summary>
    Nested,
}

/// <summary>As <see cref="HardwareBed"/>, with VT-d: the same pages at the same IOVAs. Tables have A and D set.</summary>
internal sealed class VtdBed : IDisposable
{
    private const ulong Root = 0x10_0000;
    private const ulong Contexts = 0x10_1000;
    private const ulong Directory = 0x10_2000;
    private const ulong PasidTable = 0x10_3000;
    private const ulong GuestData = 0x4000_0000;
    private const ulong Data = 0x8000_0000;
    private const ulong SecondRights = SecondStageEntry.ReadBit | SecondStageEntry.WriteBit;
    private const ulong FirstRights = FirstStageEntry.PresentBit | FirstStageEntry.WriteBit | FirstStageEntry.UserBit
        | FirstStageEntry.AccessedBit | FirstStageEntry.DirtyBit;

    private readonly SparsePhysicalMemory _memory = new();
    private readonly ulong _firstRoot;
    private readonly ulong _secondRoot;
    private ulong _nextTable = 0x100_0000;

    public VtdBed(VtdStages stages, int iotlbEntries = 1024)
    {
        Iommu = new(new() { IotlbEntries = iotlbEntries }, _memory);
        _firstRoot = stages == VtdStages.Second ? 0 : NewTable();
        _secondRoot = stages == VtdStages.First ? 0 : NewTable();
        SetContext(stages);
        foreach ((Iova page, int i) in HardwareBed.ChoosePages().Select(static (page, i) => (page, i)))
        {
            Map(page.Value, (ulong)i << 12);
            Pages[i] = page;
        }

        Iommu.Write64(RegisterOffset.RootTableAddress, Root | ((ulong)TranslationTableMode.Scalable << RootTable.ModeShift));
        Iommu.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
        Iommu.Write32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
    }

    public VtdIommu Iommu { get; }

    public Iova[] Pages { get; } = new Iova[HardwareBed.PageCount];

    public void Dispose() => _memory.Dispose();

    private void SetContext(VtdStages stages)
    {
        PasidTranslationType type = stages switch
        {
            VtdStages.Second => PasidTranslationType.SecondStage,
            VtdStages.First => PasidTranslationType.FirstStage,
            _ => PasidTranslationType.Nested,
        };
        const ulong fourLevels = 2ul << PasidTableEntry.Word0AddressWidthShift;
        Store(PasidTable + 16, _firstRoot);
        Store(PasidTable + 8, 1 | PasidTableEntry.Word1PageWalkSnoopBit);
        Store(
            PasidTable,
            _secondRoot | (_secondRoot != 0 ? fourLevels : 0) | ((ulong)type << PasidTableEntry.Word0TranslationTypeShift)
                | PasidTableEntry.Word0PresentBit);
        Store(Directory, PasidTable | PasidDirectoryEntry.PresentBit);
        Store(Contexts + (HardwareBed.Device * (ulong)ScalableContextEntry.Size), Directory | ScalableContextEntry.PresentBit);
        Store(Root, Contexts | ScalableRootEntry.PresentBit);
    }

    private void Map(ulong iova, ulong offset)
    {
        bool nested = _firstRoot != 0 && _secondRoot != 0;
        if (_firstRoot != 0)
        {
            Set(_firstRoot, iova, (nested ? GuestData : Data) + offset, FirstRights, guestTables: nested);
        }

        if (_secondRoot != 0)
        {
            Set(_secondRoot, nested ? GuestData + offset : iova, Data + offset, SecondRights, guestTables: false);
        }
    }

    private void Set(ulong root, ulong address, ulong target, ulong rights, bool guestTables)
    {
        ulong table = root;
        for (int shift = 39; ; shift -= 9)
        {
            if (guestTables)
            {
                // First-stage tables lie where guest-physical and physical addresses agree.
                Set(_secondRoot, table, table, SecondRights, guestTables: false);
            }

            ulong place = table + (((address >> shift) & 0x1ff) * 8);
            if (shift == 12)
            {
                Store(place, target | rights);
                return;
            }

            _ = _memory.Read64(new(place), out ulong entry);
            if (entry == 0)
            {
                entry = NewTable() | (rights & ~FirstStageEntry.DirtyBit);
                Store(place, entry);
            }

            table = entry & SecondStageEntry.AddressMask;
        }
    }

    private ulong NewTable()
    {
        _nextTable += 4096;
        return _nextTable;
    }

    private void Store(ulong address, ulong value) => _ = _memory.Write64(new(address), value);
}
