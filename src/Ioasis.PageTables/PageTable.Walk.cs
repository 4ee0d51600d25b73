using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Looking at the table without changing it.
public sealed unsafe partial class PageTable<TFormat, TMemory>
{
    /// <inheritdoc/>
    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize)
    {
        ulong value = iova.Value;
        address = default;
        access = Access.None;
        leafSize = 0;
        if (value > ApertureLast)
        {
            return false;
        }

        ulong table = _root;
        int shift = ShiftOf(RootLevel);
        ulong entry = ReadEntry(table + ((value >> shift) << TFormat.EntrySizeLog2));
        while (TFormat.IsTable(entry) && shift > GranuleLog2)
        {
            table = OpenTable(entry);
            if (table == 0)
            {
                return false;
            }

            shift -= TFormat.IndexBits;
            entry = ReadEntry(table + (((value >> shift) & IndexMask) << TFormat.EntrySizeLog2));
        }

        if (!TFormat.IsPresent(entry) || TFormat.IsTable(entry))
        {
            return false;
        }

        if (TFormat.ContiguousLog2 != 0 && TFormat.IsContiguous(entry))
        {
            shift = TFormat.ContiguousLog2;
        }

        leafSize = 1ul << shift;
        address = new(TFormat.LeafAddress(entry) | (value & (leafSize - 1)));
        access = TFormat.AccessOf(entry);
        return true;
    }

    /// <inheritdoc/>
    public override bool TryFindNext(Iova from, out PageMapping mapping)
    {
        mapping = default;
        return from.Value <= ApertureLast && FindNext(_root, RootLevel, 0, from.Value, out mapping);
    }

    private bool FindNext(ulong table, int level, ulong tableStart, ulong from, out PageMapping mapping)
    {
        int shift = ShiftOf(level);
        int count = 1 << (level == RootLevel ? TFormat.ApertureBits - shift : TFormat.IndexBits);
        int first = from > tableStart ? (int)((from - tableStart) >> shift) : 0;
        for (int i = first; i < count && table != 0; i++)
        {
            ulong entry = ReadEntry(LocationOf(table, i));
            if (!TFormat.IsPresent(entry))
            {
                continue;
            }

            ulong start = tableStart + ((ulong)i << shift);
            if (TFormat.IsTable(entry))
            {
                if (level > 0 && FindNext(OpenTable(entry), level - 1, start, from, out mapping))
                {
                    return true;
                }

                continue;
            }

            int leafLog2 = TFormat.ContiguousLog2 != 0 && TFormat.IsContiguous(entry) ? TFormat.ContiguousLog2 : shift;
            ulong mask = (1ul << leafLog2) - 1;
            mapping = new(
                new(start & ~mask, start | mask),
                new(TFormat.LeafAddress(entry)),
                TFormat.AccessOf(entry),
                TFormat.TypeOf(entry));
            return true;
        }

        mapping = default;
        return false;
    }
}
