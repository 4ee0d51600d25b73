using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Splitting: a leaf of which a part is unmapped gives way to a table that maps the rest. There is no break before the make: the
// table says of the rest what the leaf said, so that hardware may use either until the invalidation.
internal sealed unsafe partial class PageTable<TFormat, TMemory>
{
    // Builds what will take the place of the leaves that the two ends of the range cut through. Nothing is changed yet.
    private Errno PrepareSplits(ref UnmapPlan plan)
    {
        Errno error = Errno.Success;
        if (TryFindCut(plan.Start, plan.Start, plan.Last, out ulong entry, out int level, out ulong leafStart))
        {
            error = BuildSplit(ref plan, entry, level, leafStart, out plan.HeadTable);
            plan.HeadStart = leafStart;
            if (error != Errno.Success || (plan.Last - leafStart) >> ShiftOf(level) == 0)
            {
                return error;
            }
        }

        if (TryFindCut(plan.Last, plan.Start, plan.Last, out entry, out level, out leafStart))
        {
            error = BuildSplit(ref plan, entry, level, leafStart, out plan.TailTable);
            if (error != Errno.Success && plan.HeadTable != 0)
            {
                FreeBuilt(ref plan, plan.HeadTable, FindLeaf(plan.Start, out _) - 1);
            }
        }

        return error;
    }

    // The leaf above level 0 that holds an IOVA, if it reaches beyond [start, last].
    private bool TryFindCut(ulong iova, ulong start, ulong last, out ulong entry, out int level, out ulong leafStart)
    {
        level = FindLeaf(iova, out entry);
        leafStart = 0;
        if (level <= 0)
        {
            return false;
        }

        ulong mask = (1ul << ShiftOf(level)) - 1;
        leafStart = iova & ~mask;
        return leafStart < start || (leafStart | mask) > last;
    }

    // The level of the leaf that holds an IOVA, or -1.
    private int FindLeaf(ulong iova, out ulong entry) =>
        TryDescend(iova, 0, out _, out entry, out int level) && IsPresent(entry) ? level : -1;

    // Makes the table that maps what a leaf maps, without [plan.Start, plan.Last].
    private Errno BuildSplit(ref UnmapPlan plan, ulong leaf, int level, ulong leafStart, out ulong page)
    {
        page = 0;
        if (!_pages.TryAllocate(TableSizeLog2, _node, out PhysicalAddress allocated))
        {
            return Errno.OutOfMemory;
        }

        ulong table = _memory.Open(allocated.Value);
        if (table == 0)
        {
            _pages.Free(allocated, TableSizeLog2);
            return Errno.IoError;
        }

        plan.TableBytesChange += 1L << TableSizeLog2;
        int shift = ShiftOf(level - 1);
        ulong leafLast = leafStart | ((1ul << ShiftOf(level)) - 1);
        ulong address = TFormat.LeafAddress(leaf, level);
        ulong attributes = TFormat.AttributesOf(leaf, level);
        ulong removedStart = Math.Max(plan.Start, leafStart);
        ulong removedLast = Math.Min(plan.Last, leafLast);
        int firstRemoved = (int)((removedStart - leafStart) >> shift);
        int lastRemoved = (int)((removedLast - leafStart) >> shift);

        // Leaves before the first slot that the range touches, and after the last.
        ulong afterStart = leafStart + ((ulong)(lastRemoved + 1) << shift);
        int entries = 1 << TFormat.IndexBits;
        FillLeaves(table, 0, firstRemoved, level - 1, address, attributes);
        FillLeaves(
            table, lastRemoved + 1, entries - lastRemoved - 1, level - 1, address + (afterStart - leafStart), attributes);

        Errno error = BuildEdge(ref plan, table, firstRemoved, leafStart, address, attributes, level - 1);
        if (error == Errno.Success && lastRemoved != firstRemoved)
        {
            error = BuildEdge(ref plan, table, lastRemoved, leafStart, address, attributes, level - 1);
        }

        if (error != Errno.Success)
        {
            FreeBuilt(ref plan, allocated.Value, level - 1);
            return error;
        }

        page = allocated.Value;
        return Errno.Success;
    }

    // A slot that the range touches: empty if the range covers it, or else split further.
    private Errno BuildEdge(
        ref UnmapPlan plan, ulong table, int index, ulong tableStart, ulong address, ulong attributes, int level)
    {
        int shift = ShiftOf(level);
        ulong slotStart = tableStart + ((ulong)index << shift);
        ulong slotLast = slotStart + ((1ul << shift) - 1);
        if (plan.Start <= slotStart && slotLast <= plan.Last)
        {
            return Errno.Success;
        }

        ulong leaf = TFormat.EncodeLeaf(address + (slotStart - tableStart), attributes, level);
        Errno error = BuildSplit(ref plan, leaf, level, slotStart, out ulong page);
        if (error == Errno.Success)
        {
            WriteEntry(LocationOf(table, index), TFormat.EncodeTable(page, level));
        }

        return error;
    }

    private void FreeBuilt(ref UnmapPlan plan, ulong page, int level)
    {
        ulong table = _memory.Open(page);
        for (int i = 0; level > 0 && i < 1 << TFormat.IndexBits; i++)
        {
            ulong entry = ReadEntry(LocationOf(table, i));
            if (TFormat.IsTable(entry, level))
            {
                FreeBuilt(ref plan, TFormat.TableAddress(entry, level), level - 1);
            }
        }

        plan.TableBytesChange -= 1L << TableSizeLog2;
        _pages.Free(new(page), TableSizeLog2);
    }

    private void PublishSplit(ref UnmapPlan plan, ulong location, ulong entry, int level, ulong leafStart)
    {
        ulong page = plan.HeadTable != 0 && plan.HeadStart == leafStart ? plan.HeadTable : plan.TailTable;
        while (true)
        {
            // Hardware may have written since the table was built from the leaf.
            if (_hardwareDirty && TFormat.IsDirty(entry, level))
            {
                SetDirty(_memory.Open(page), level - 1);
            }

            ulong observed = ExchangeEntry(location, entry, TFormat.EncodeTable(page, level));
            if (observed == entry || !IsPresent(observed) || TFormat.IsTable(observed, level))
            {
                return;
            }

            entry = observed;
        }
    }

    private void SetDirty(ulong table, int level)
    {
        for (int i = 0; i < 1 << TFormat.IndexBits; i++)
        {
            ulong location = LocationOf(table, i);
            ulong entry = ReadEntry(location);
            if (IsTable(entry, level))
            {
                SetDirty(OpenTable(entry, level), level - 1);
            }
            else if (IsPresent(entry))
            {
                WriteEntry(location, TFormat.ToDirty(entry, level));
            }
        }
    }
}
