using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Dirty tracking: the hardware sets D in leaves, software reads and clears it.
public sealed unsafe partial class PageTable<TFormat, TMemory>
{
    /// <inheritdoc/>
    public override Errno ReadDirty(AddressRange range, in DirtyBitmap bitmap, bool clear, ref InvalidationGather gather)
    {
        if (!_hardwareDirty)
        {
            return Errno.NotSupported;
        }

        if (range.Last > ApertureLast)
        {
            return Errno.OutOfRange;
        }

        CollectDirty(_root, RootLevel, range.Start, range.Last, range, in bitmap, clear, ref gather);
        return Finish(Errno.Success);
    }

    private void CollectDirty(
        ulong table,
        int level,
        ulong start,
        ulong last,
        AddressRange range,
        in DirtyBitmap bitmap,
        bool clear,
        ref InvalidationGather gather)
    {
        SplitSlots(start, last, level, out int first, out int final, out _, out _);
        int shift = ShiftOf(level);
        ulong mask = (1ul << shift) - 1;
        for (int i = first; i <= final; i++)
        {
            ulong entry = ReadEntry(LocationOf(table, i));
            if (!TFormat.IsPresent(entry))
            {
                continue;
            }

            ulong from = i == first ? start : start - (start & mask) + ((ulong)(i - first) << shift);
            ulong to = i == final ? last : from | mask;
            if (TFormat.IsTable(entry))
            {
                ulong child = OpenTable(entry);
                if (child != 0 && level > 0)
                {
                    CollectDirty(child, level - 1, from, to, range, in bitmap, clear, ref gather);
                }

                continue;
            }

            bool contiguous = level == 0 && UsesContiguous && TFormat.IsContiguous(entry);
            int head = contiguous ? i & ~(ContiguousEntries - 1) : i;
            int entries = contiguous ? ContiguousEntries : 1;
            int leafLog2 = contiguous ? TFormat.ContiguousLog2 : shift;
            ulong leafMask = (1ul << leafLog2) - 1;
            AddressRange leaf = new(from & ~leafMask, from | leafMask);
            if (ReadDirtyLeaf(table, head, entries, clear && range.Contains(leaf)))
            {
                _ = leaf.TryIntersect(range, out AddressRange dirty);
                bitmap.Set(dirty);
                if (clear && range.Contains(leaf))
                {
                    gather.AddLeaves(leaf.Start, leaf.Last, leafLog2);
                }
            }

            i = Math.Max(i, head + entries - 1);
        }
    }

    private bool ReadDirtyLeaf(ulong table, int head, int entries, bool clear)
    {
        bool dirty = false;
        for (int i = head; i < head + entries; i++)
        {
            ulong location = LocationOf(table, i);
            ulong entry = ReadEntry(location);
            while ((entry & TFormat.DirtyBit) != 0 && TFormat.IsPresent(entry))
            {
                dirty = true;
                if (!clear)
                {
                    break;
                }

                ulong observed = ExchangeEntry(location, entry, entry & ~TFormat.DirtyBit);
                if (observed == entry)
                {
                    break;
                }

                entry = observed;
            }
        }

        return dirty;
    }
}
