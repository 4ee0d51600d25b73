using Ioasis.Intel.Architecture;

namespace Ioasis.Lab.Qemu.Tests.Vtd.Model;

/// <summary>A leaf that was made, and whose device it is for.</summary>
internal readonly record struct MadeLeaf(int Device, ulong Iova, ulong Target, int SizeLog2);

/// <summary>
/// Root, context and PASID tables and page tables at random: mostly sound, some with an entry that is missing, a bit too many, a field
/// that does not fit.
/// </summary>
internal sealed class RandomTables
{
    /// <summary>Pages that leaves of 4 KiB lead to; leaves of 2 MiB and 1 GiB lead to where these lie in.</summary>
    public const ulong Pool = 0x0900_0000;
    public const int PoolPages = 8;

    private const ulong Huge = 1ul << 21;
    private const ulong OutsideRam = 0x5000_0000;

    private readonly Random _random;
    private readonly VtdTables _kind;
    private readonly List<MadeLeaf> _leaves = [];
    private readonly List<(ulong Root, int Levels, MadeLeaf[] Leaves)> _trees = [];

    public RandomTables(Random random, VtdTables kind, ReadOnlySpan<ushort> devices)
    {
        _random = random;
        _kind = kind;
        _ = Image.NewPage();
        for (int i = 0; i < devices.Length; i++)
        {
            AddDevice(i, devices[i]);
        }
    }

    public TableImage Image { get; } = new();

    public IReadOnlyList<MadeLeaf> Leaves => _leaves;

    private bool IsLegacy => _kind is VtdTables.Legacy3 or VtdTables.Legacy4;

    private bool IsFirstStage => _kind == VtdTables.FirstStage;

    private bool Chance(int percent) => _random.Next(100) < percent;

    // A bit anywhere, but not where rights and addresses are.
    private ulong StrayBit(int percent, ulong except) => Chance(percent) ? (1ul << _random.Next(64)) & ~except : 0;

    private void AddDevice(int index, ushort source)
    {
        ulong root = TableImage.Start + ((ulong)(source >> 8) * RootEntry.Size) + (!IsLegacy && (source & 0x80) != 0 ? 8ul : 0);
        if (Image[root] == 0)
        {
            // Of a legacy entry, the upper half is reserved too.
            Image[root] = Image.NewPage() | (Chance(98) ? 1ul : 0) | StrayBit(2, 0x000f_ffff_ffff_f001);
            Image[root + 8] |= IsLegacy ? StrayBit(1, 0) : 0;
        }

        ulong table = Image[root] & SecondStageEntry.AddressMask;
        if (IsLegacy)
        {
            SetLegacyContext(index, table + ((ulong)(source & 0xff) * ContextEntry.Size));
        }
        else
        {
            SetScalableContext(index, table + ((ulong)(source & 0x7f) * ScalableContextEntry.Size));
        }
    }

    private void SetLegacyContext(int device, ulong place)
    {
        (ulong tree, int levels) = TreeFor(device);
        ulong type = Chance(88) ? 0ul : (ulong)_random.Next(4);
        Image[place] = tree | (Chance(96) ? 1ul : 0) | (Chance(8) ? ContextEntry.FaultDisableBit : 0)
            | (type << ContextEntry.TranslationTypeShift) | StrayBit(3, 0x0000_ffff_ffff_f00f);
        Image[place + 8] = (Chance(95) ? (ulong)(levels - 2) : (ulong)_random.Next(8))
            | ((ulong)_random.Next(0x1_0000) << ContextEntry.HighDomainIdShift) | StrayBit(3, 0xff_ff07);
    }

    private void SetScalableContext(int device, ulong place)
    {
        ulong directory = Image.NewPage();
        ulong table = Image.NewPage();
        Image[place] = directory | (Chance(96) ? 1ul : 0) | (Chance(8) ? ScalableContextEntry.FaultDisableBit : 0)
            | ((ulong)_random.Next(8) << ScalableContextEntry.DirectorySizeShift) | StrayBit(3, 0x0000_ffff_ffff_f001);
        Image[place + 8] = StrayBit(3, 0);
        Image[place + 16 + ((ulong)_random.Next(2) * 8)] = StrayBit(1, 0);
        Image[directory] = table | (Chance(96) ? 1ul : 0) | (Chance(5) ? PasidDirectoryEntry.FaultDisableBit : 0)
            | StrayBit(3, 0x0000_ffff_ffff_f001);
        SetPasidEntry(device, table);
    }

    private void SetPasidEntry(int device, ulong place)
    {
        Image.PasidEntries.Add(place);
        (ulong tree, int levels) = TreeFor(device);
        PasidTranslationType usual = IsFirstStage ? PasidTranslationType.FirstStage : PasidTranslationType.SecondStage;
        ulong type = Chance(88) ? (ulong)usual : Chance(50) ? (ulong)PasidTranslationType.PassThrough : (ulong)_random.Next(8);
        ulong width = Chance(95) ? (ulong)(levels - 2) : (ulong)_random.Next(8);
        Image[place] = (IsFirstStage ? 0 : tree | (width << PasidTableEntry.Word0AddressWidthShift)) | (Chance(96) ? 1ul : 0)
            | (Chance(8) ? PasidTableEntry.Word0FaultDisableBit : 0) | (type << PasidTableEntry.Word0TranslationTypeShift)
            | StrayBit(3, 0x0000_ffff_ffff_f1df);
        Image[place + 8] = (uint)_random.Next(0x1_0000) | (IsFirstStage ? PasidTableEntry.Word1PageWalkSnoopBit : 0) | StrayBit(4, 0xffff);
        Image[place + 16] = (IsFirstStage ? tree : 0) | (IsFirstStage && Chance(3) ? 1ul << PasidTableEntry.Word2PagingModeShift : 0)
            | StrayBit(4, 0x0000_ffff_ffff_f00c);
        Image[place + 24 + ((ulong)_random.Next(5) * 8)] = StrayBit(2, 0);
    }

    // A tree of its own, or that of another device.
    private (ulong Root, int Levels) TreeFor(int device)
    {
        if (_trees.Count > 0 && (Chance(20) || !Image.HasRoom))
        {
            (ulong root, int levels, MadeLeaf[] leaves) = _trees[_random.Next(_trees.Count)];
            _leaves.AddRange(leaves.Select(leaf => leaf with { Device = device }));
            return (root, levels);
        }

        int before = _leaves.Count;
        int height = _kind == VtdTables.Legacy3 ? 3 : IsFirstStage || Chance(70) ? 4 : 3;
        ulong made = Image.NewPage();
        Fill(device, made, height, height, 0);
        _trees.Add((made, height, [.. _leaves.Skip(before)]));
        return (made, height);
    }

    private void Fill(int device, ulong table, int level, int height, ulong prefix)
    {
        int shift = 12 + (9 * (level - 1));
        int entries = _random.Next(1, level == 1 ? 6 : 4);
        for (int i = 0; i < entries; i++)
        {
            ulong index = (ulong)(Chance(70) ? _random.Next(4) : Chance(50) ? 512 - _random.Next(1, 3) : _random.Next(512));
            ulong place = table + (index * 8);
            if (Image[place] != 0)
            {
                continue;
            }

            ulong iova = prefix | (index << shift);
            if (IsFirstStage && level == height && index >= 256)
            {
                iova |= 0xffff_0000_0000_0000;
            }

            bool isLeaf = level == 1 || (level <= 3 && Chance(25));
            if (!isLeaf && !Image.HasRoom)
            {
                continue;
            }

            ulong target = isLeaf ? TargetOf(shift) : Chance(98) ? Image.NewPage() : OutsideRam;
            Image[place] = Entry(target, isLeaf, level);
            if (isLeaf)
            {
                _leaves.Add(new(device, iova, target, shift));
            }
            else if (target != OutsideRam)
            {
                Fill(device, target, level - 1, height, iova);
            }
        }
    }

    private ulong TargetOf(int sizeLog2) => sizeLog2 switch
    {
        12 => Chance(3) ? InterruptAddress.First + ((ulong)_random.Next(256) << 12) : Pool + ((ulong)_random.Next(PoolPages) << 12),
        21 => Chance(80) ? Pool & ~(Huge - 1) : Pool + Huge,
        _ => 0,
    };

    private ulong Entry(ulong target, bool isLeaf, int level)
    {
        ulong entry = target | (isLeaf && level > 1 ? SecondStageEntry.PageSizeBit : 0);
        if (IsFirstStage)
        {
            entry |= (Chance(96) ? FirstStageEntry.PresentBit : 0) | (Chance(90) ? FirstStageEntry.WriteBit : 0)
                | (Chance(95) ? FirstStageEntry.UserBit : 0) | (Chance(40) ? FirstStageEntry.AccessedBit : 0)
                | (isLeaf && Chance(40) ? FirstStageEntry.DirtyBit : 0);
        }
        else
        {
            entry |= (Chance(93) ? SecondStageEntry.ReadBit : 0) | (Chance(90) ? SecondStageEntry.WriteBit : 0);
        }

        // Any other bit: ignored, reserved, of the address beyond what there is, or of the page's own offset.
        entry ^= StrayBit(8, 0x0000_ffff_c000_0007 | (level == 1 || !isLeaf ? 0x3fff_f000ul : level == 2 ? 0x3fe0_0000ul : 0));
        return entry;
    }
}
