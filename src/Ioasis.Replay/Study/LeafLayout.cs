namespace Ioasis.Replay.Study;

/// <summary>A mapping as a study sees it.</summary>
internal struct StudiedArea
{
    /// <summary>First IOVA.</summary>
    public ulong Start;

    /// <summary>Bytes.</summary>
    public ulong Length;

    /// <summary>Recorded physical address of the first byte.</summary>
    public ulong Physical;
}

/// <summary>A leaf of a page table.</summary>
/// <param name="Offset">Where it begins, in bytes from its mapping's start.</param>
/// <param name="SizeClass">Its size, one of <see cref="TranslationKey.SizesLog2"/>.</param>
internal readonly record struct Leaf(ulong Offset, int SizeClass)
{
    /// <summary>First byte behind it.</summary>
    public ulong End => Offset + (1ul << TranslationKey.SizesLog2[SizeClass]);
}

/// <summary>What decides how large the leaves of a mapping can be.</summary>
internal enum LeafRule
{
    /// <summary>IOVA and physical address as they were recorded: a leaf has to be aligned in both.</summary>
    AsMapped,

    /// <summary>4 KiB leaves and no others.</summary>
    SmallestOnly,

    /// <summary>Had the IOVA been chosen with the alignment of the physical address (an allocator of IOVAs that aligns).</summary>
    IovaAlignedToMemory,

    /// <summary>Had IOVA and buffer begun at a boundary of 64 KiB: leaves of up to 64 KiB.</summary>
    Aligned64KiB,

    /// <summary>Had IOVA and buffer begun at a boundary of 2 MiB: leaves of up to 2 MiB.</summary>
    Aligned2MiB,
}

/// <summary>Cuts mappings into leaves by a rule: each leaf is the largest whose aligned block lies wholly in the mapping.</summary>
internal readonly struct LeafLayout(LeafRule rule)
{
    /// <summary>Smaller mappings have leaves of 4 KiB whatever the rule is.</summary>
    public const ulong SmallestWithLarger = 1 << 16;

    /// <summary>The leaf that has a byte of a mapping.</summary>
    public Leaf At(in StudiedArea area, ulong offset)
    {
        if (area.Length >= SmallestWithLarger)
        {
            (ulong origin, int largest) = rule switch
            {
                LeafRule.SmallestOnly => (0ul, 0),
                LeafRule.IovaAlignedToMemory => (area.Physical, TranslationKey.Classes - 1),
                LeafRule.Aligned64KiB => (0ul, 1),
                LeafRule.Aligned2MiB => (0ul, 2),
                _ => (area.Physical, TranslationKey.Classes - 1),
            };
            for (int size = largest; size > 0; size--)
            {
                ulong mask = (1ul << TranslationKey.SizesLog2[size]) - 1;
                if (area.Length <= mask || (rule == LeafRule.AsMapped && ((area.Start ^ area.Physical) & mask) != 0))
                {
                    continue;
                }

                ulong block = (origin + offset) & ~mask;
                if (block >= origin && block - origin + mask <= area.Length - 1)
                {
                    return new(block - origin, size);
                }
            }
        }

        return new(offset & ~4095ul, 0);
    }

    /// <summary>Whether another rule cuts a mapping into the same leaves.</summary>
    public bool CutsAs(in LeafLayout other, in StudiedArea area)
    {
        if (area.Length < SmallestWithLarger)
        {
            return true;
        }

        for (ulong offset = 0; offset < area.Length;)
        {
            Leaf leaf = At(area, offset);
            if (leaf != other.At(area, offset))
            {
                return false;
            }

            offset = leaf.End;
        }

        return true;
    }
}
