using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Unmapping. Leaves that reach beyond the range are replaced by tables that were built before anything is changed; a table
// whose whole range goes is cut off at its top and handed to the gather as it is.
public sealed unsafe partial class PageTable<TFormat, TMemory>
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
            ulong location = _root + ((start >> ShiftOf(RootLevel)) << TFormat.EntrySizeLog2);
            int shift = ShiftOf(RootLevel);
            ulong entry = ReadEntry(location);
            while (TFormat.IsTable(entry))
            {
                ulong table = OpenTable(entry);
                if (table == 0)
                {
                    return Errno.IoError;
                }

                shift -= TFormat.IndexBits;
                location = table + (((start >> shift) & IndexMask) << TFormat.EntrySizeLog2);
                entry = ReadEntry(location);
                if (shift == GranuleLog2)
                {
                    break;
                }
            }

            if (!TFormat.IsPresent(entry))
            {
                return Finish(Errno.Success);
            }

            if (shift == GranuleLog2 && (TFormat.ContiguousLog2 == 0 || !TFormat.IsContiguous(entry)))
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
        SplitSlots(start, last, level, out int first, out int final, out int coveredFirst, out int coveredEnd);
        if (level == 0)
        {
            return ClearLeaves(table, first, final - first + 1, start, last, ref gather);
        }

        int shift = ShiftOf(level);
        ulong mask = (1ul << shift) - 1;
        ulong unmapped = 0;
        for (int i = first; i <= final; i++)
        {
            ulong location = LocationOf(table, i);
            ulong entry = ReadEntry(location);
            if (!TFormat.IsPresent(entry))
            {
                continue;
            }

            ulong from = i == first ? start : start - (start & mask) + ((ulong)(i - first) << shift);
            ulong to = i == final ? last : from | mask;
            bool covered = i >= coveredFirst && i < coveredEnd;
            if (TFormat.IsTable(entry))
            {
                if (covered)
                {
                    WriteEntry(location, 0);
                    DetachedTree tree = default;
                    Detach(ref tree, entry, level - 1, from, ref gather);
                    plan.TableBytesChange -= tree.TableBytes;
                    unmapped += tree.MappedBytes;
                }
                else
                {
                    ulong child = OpenTable(entry);
                    unmapped += child == 0 ? 0 : Clear(ref plan, child, level - 1, from, to, ref gather);
                }
            }
            else if (covered)
            {
                WriteEntry(location, 0);
                gather.AddLeaves(from, to, shift);
                unmapped += to - from + 1;
            }
            else
            {
                PublishSplit(ref plan, location, entry, level, from & ~mask);
                gather.AddLeaves(from & ~mask, from | mask, shift);
                unmapped += to - from + 1;
            }
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

        if (summary.HighBits != 0 && UsesContiguous)
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

        if (summary.Present != summary.HighBits)
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
        if ((head >= begin && head + group <= end) || !TFormat.IsContiguous(ReadEntry(LocationOf(table, head))))
        {
            return;
        }

        // D may be set in any entry of the group and counts for all.
        ulong dirty = GroupDirty(table, head);
        for (int i = head; i < head + group; i++)
        {
            if (i >= begin && i < end)
            {
                continue;
            }

            ulong location = LocationOf(table, i);
            ulong old = ReadEntry(location);
            ulong address = TFormat.LeafAddress(old) + ((ulong)(i - head) << GranuleLog2);
            while (true)
            {
                ulong observed = ExchangeEntry(
                    location, old, TFormat.EncodeLeaf(address, TFormat.AttributesOf(old) | dirty));
                if (observed == old || !TFormat.IsPresent(observed))
                {
                    break;
                }

                old = observed;
            }
        }

        ulong mask = (1ul << TFormat.ContiguousLog2) - 1;
        gather.AddLeaves(iova & ~mask, iova | mask, TFormat.ContiguousLog2);
    }

    private ulong GroupDirty(ulong table, int head)
    {
        ulong dirty = 0;
        for (int i = 0; i < ContiguousEntries; i++)
        {
            dirty |= ReadEntry(LocationOf(table, head + i)) & TFormat.DirtyBit;
        }

        return dirty;
    }

    // Accounts for a table that no entry points at any more, and all below it: they wait in the gather as they are, because
    // hardware may still walk them. `start` is the first IOVA of its range.
    private void Detach(ref DetachedTree tree, ulong entry, int level, ulong start, ref InvalidationGather gather)
    {
        int shift = ShiftOf(level);
        int count = 1 << TFormat.IndexBits;
        ulong table = OpenTable(entry);
        ulong last = start + ((ulong)count << shift) - 1;
        gather.AddFreedTable(new(TFormat.TableAddress(entry)), TableSizeLog2, start, last);
        tree.TableBytes += 1L << TableSizeLog2;
        if (table == 0)
        {
            return;
        }

        RunSummary summary = SummarizeRun(table, 0, count);
        if (summary.Present == 0)
        {
            return;
        }

        if (level == 0)
        {
            int contiguous = UsesContiguous ? summary.HighBits : 0;
            if (contiguous != 0)
            {
                gather.AddLeaves(start, last, TFormat.ContiguousLog2);
            }

            if (summary.Present != contiguous)
            {
                gather.AddLeaves(start, last, GranuleLog2);
            }

            tree.MappedBytes += (ulong)summary.Present << GranuleLog2;
            return;
        }

        for (int i = 0; i < count; i++)
        {
            ulong child = ReadEntry(LocationOf(table, i));
            ulong childStart = start + ((ulong)i << shift);
            if (TFormat.IsTable(child))
            {
                Detach(ref tree, child, level - 1, childStart, ref gather);
            }
            else if (TFormat.IsPresent(child))
            {
                gather.AddLeaves(childStart, childStart + ((1ul << shift) - 1), shift);
                tree.MappedBytes += 1ul << shift;
            }
        }
    }

    private RunSummary SummarizeRun(ulong table, int index, int count)
    {
        if (IsBulk)
        {
            return EntryRuns.Summarize((ulong*)LocationOf(table, index), count);
        }

        int present = 0;
        int high = 0;
        ulong any = 0;
        for (int i = 0; i < count; i++)
        {
            ulong entry = ReadEntry(LocationOf(table, index + i));
            any |= entry;
            present += TFormat.IsPresent(entry) ? 1 : 0;
            high += (int)(entry >>> 63);
        }

        return new(present, any, high);
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
