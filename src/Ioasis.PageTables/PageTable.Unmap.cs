using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Unmapping. Leaves that reach beyond the range are replaced by tables that were built before anything is changed; a table
// whose whole range goes is cut off at its top and handed to the gather as it is.
internal sealed unsafe partial class PageTable<TFormat, TMemory>
{
    /// <inheritdoc/>
    public override Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped)
    {
        ulong start = iova.Value;
        unmapped = 0;
        Errno error = CheckRange(start, length);
        if (error != Errno.Success)
        {
            return error;
        }

        if (length == Granule)
        {
            if (!TryDescend(start, 0, out ulong location, out ulong entry, out int level))
            {
                return Errno.IoError;
            }

            if (!IsPresent(entry))
            {
                return Finish(Errno.Success);
            }

            if (level == 0 && !IsContiguous(entry, 0))
            {
                WriteEntry(location, 0);
                gather.AddLeaves(start, start + GranuleMask, GranuleLog2);
                unmapped = Granule;
                return Finish(Errno.Success);
            }
        }

        return UnmapRange(start, start + (length - 1), ref gather, out unmapped);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private Errno UnmapRange(ulong start, ulong last, ref InvalidationGather gather, out ulong unmapped)
    {
        UnmapPlan plan = new() { Start = start, Last = last };
        unmapped = 0;
        Errno error = PrepareSplits(ref plan);
        if (error == Errno.Success)
        {
            unmapped = Clear(ref plan, _root, RootLevel, start, last, ref gather);
            if (plan.TableBytesChange != 0)
            {
                Interlocked.Add(ref _tableBytes, plan.TableBytesChange);
            }
        }

        return Finish(error);
    }

    private ulong Clear(ref UnmapPlan plan, ulong table, int level, ulong start, ulong last, ref InvalidationGather gather)
    {
        if (table == 0)
        {
            return 0;
        }

        TableCursor at = new(table, level, start, last);
        if (level == 0)
        {
            return ClearLeaves(table, at.Index, at.Count, start, last, ref gather);
        }

        ulong unmapped = 0;
        for (; at.IsInside; at.Move())
        {
            ulong entry = ReadEntry(at.Location);
            if (!IsPresent(entry))
            {
                continue;
            }

            if (TFormat.IsTable(entry, at.Level))
            {
                if (at.IsWhole)
                {
                    WriteEntry(at.Location, 0);
                    DetachedTree tree = default;
                    Detach(ref tree, entry, at.Level, at.SlotStart, ref gather);
                    plan.TableBytesChange -= tree.TableBytes;
                    unmapped += tree.MappedBytes;
                }
                else
                {
                    unmapped += Clear(ref plan, OpenTable(entry, at.Level), at.Level - 1, at.Start, at.Last, ref gather);
                }

                continue;
            }

            if (at.IsWhole)
            {
                WriteEntry(at.Location, 0);
                unmapped += 1ul << ShiftOf(at.Level);
            }
            else
            {
                PublishSplit(ref plan, at.Location, entry, at.Level, at.SlotStart);
                unmapped += at.Last - at.Start + 1;
            }

            // Hardware may hold the whole leaf, whatever part of it goes.
            gather.AddLeaves(at.SlotStart, at.SlotLast, ShiftOf(at.Level));
        }

        return unmapped;
    }

    private ulong ClearLeaves(ulong table, int index, int count, ulong start, ulong last, ref InvalidationGather gather)
    {
        RunSummary summary = SummarizeRun(table, index, count);
        if (summary.Present == 0)
        {
            return 0;
        }

        if (summary.Contiguous != 0)
        {
            // A group that reaches beyond the range becomes plain leaves, one by one: each of them is whole at any time.
            int group = ContiguousEntries;
            int head = index & ~(group - 1);
            int tail = (index + count - 1) & ~(group - 1);
            Decontiguate(table, head, index, index + count, ref gather, start);
            if (tail != head)
            {
                Decontiguate(table, tail, index, index + count, ref gather, last);
            }

            gather.AddLeaves(start, last, TFormat.ContiguousLog2);
        }

        if (summary.Present != summary.Contiguous)
        {
            gather.AddLeaves(start, last, GranuleLog2);
        }

        FillEqual(table, index, count, 0);
        return (ulong)summary.Present << GranuleLog2;
    }

    // If the group at `head` is contiguous and reaches beyond [begin, end), makes what is beyond plain.
    private void Decontiguate(ulong table, int head, int begin, int end, ref InvalidationGather gather, ulong iova)
    {
        int group = ContiguousEntries;
        if ((head >= begin && head + group <= end) || !IsContiguous(ReadEntry(LocationOf(table, head)), 0))
        {
            return;
        }

        // Any entry of the group may be dirty and counts for all.
        bool dirty = IsGroupDirty(table, head);
        for (int i = head; i < head + group; i++)
        {
            if (i >= begin && i < end)
            {
                continue;
            }

            ulong location = LocationOf(table, i);
            ulong old = ReadEntry(location);
            ulong address = TFormat.LeafAddress(old, 0) + ((ulong)(i - head) << GranuleLog2);
            while (true)
            {
                ulong plain = TFormat.EncodeLeaf(address, TFormat.AttributesOf(old, 0), 0);
                ulong observed = ExchangeEntry(location, old, dirty ? TFormat.ToDirty(plain, 0) : plain);
                if (observed == old || !IsPresent(observed))
                {
                    break;
                }

                old = observed;
            }
        }

        ulong mask = (1ul << TFormat.ContiguousLog2) - 1;
        gather.AddLeaves(iova & ~mask, iova | mask, TFormat.ContiguousLog2);
    }

    private bool IsGroupDirty(ulong table, int head)
    {
        bool dirty = false;
        for (int i = 0; i < ContiguousEntries; i++)
        {
            dirty |= TFormat.IsDirty(ReadEntry(LocationOf(table, head + i)), 0);
        }

        return dirty;
    }

    // Accounts for a table that no entry points at any more, and all below it: they wait in the gather as they are, because
    // hardware may still walk them. `entry` was in a slot of `level` for the IOVAs from `start` on.
    private void Detach(ref DetachedTree tree, ulong entry, int level, ulong start, ref InvalidationGather gather)
    {
        ulong last = start + ((1ul << ShiftOf(level)) - 1);
        gather.AddFreedTable(new(TFormat.TableAddress(entry, level)), TableSizeLog2, start, last);
        tree.TableBytes += 1L << TableSizeLog2;
        TableCursor at = new(OpenTable(entry, level), level - 1, start, last);
        if (at.Table == 0)
        {
            return;
        }

        RunSummary summary = SummarizeRun(at.Table, 0, at.Count);
        if (summary.Present == 0)
        {
            return;
        }

        if (at.Level == 0)
        {
            if (summary.Contiguous != 0)
            {
                gather.AddLeaves(start, last, TFormat.ContiguousLog2);
            }

            if (summary.Present != summary.Contiguous)
            {
                gather.AddLeaves(start, last, GranuleLog2);
            }

            tree.MappedBytes += (ulong)summary.Present << GranuleLog2;
            return;
        }

        int leaves = 0;
        for (; at.IsInside; at.Move())
        {
            ulong child = ReadEntry(at.Location);
            if (TFormat.IsTable(child, at.Level))
            {
                Detach(ref tree, child, at.Level, at.SlotStart, ref gather);
            }
            else if (IsPresent(child))
            {
                leaves++;
            }
        }

        if (leaves != 0)
        {
            gather.AddLeaves(start, last, ShiftOf(at.Level));
            tree.MappedBytes += (ulong)leaves << ShiftOf(at.Level);
        }
    }

    // Contiguous leaves are looked for in tables of level 0 only; what is counted as such above is not used.
    private RunSummary SummarizeRun(ulong table, int index, int count)
    {
        ulong contiguousBit = UsesContiguous ? TFormat.ContiguousBit : 0;
        if (IsBulk)
        {
            return UsesContiguous
                ? EntryRuns.Summarize((ulong*)LocationOf(table, index), count, TFormat.PresentMask, TFormat.ContiguousBit)
                : EntryRuns.Summarize((ulong*)LocationOf(table, index), count, TFormat.PresentMask, 0);
        }

        int present = 0;
        int contiguous = 0;
        for (int i = 0; i < count; i++)
        {
            ulong entry = ReadEntry(LocationOf(table, index + i));
            present += IsPresent(entry) ? 1 : 0;
            contiguous += (entry & contiguousBit) != 0 ? 1 : 0;
        }

        return new(present, contiguous);
    }

    private struct DetachedTree
    {
        public ulong MappedBytes;
        public long TableBytes;
    }

    private struct UnmapPlan
    {
        public ulong Start;
        public ulong Last;
        public long TableBytesChange;

        // What takes the place of the leaf at the start of the range and of the one at its end; 0 if none is needed. If one
        // leaf holds both ends, the first.
        public ulong HeadTable;
        public ulong HeadStart;
        public ulong TailTable;
    }
}
