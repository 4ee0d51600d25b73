using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Mapping. A survey finds what is in the way and how many tables are missing; then the pages are taken; then the entries are
// written, which cannot fail. A single granule whose tables are there takes none of these steps.
public sealed unsafe partial class PageTable<TFormat, TMemory>
{
    /// <inheritdoc/>
    public override Errno Map(
        Iova iova,
        PhysicalAddress address,
        ulong length,
        Access access,
        ref InvalidationGather gather,
        MemoryType type = MemoryType.Pma,
        bool granulesOnly = false)
    {
        ulong start = iova.Value;
        Errno error = CheckRange(start, length);
        ulong attributes = TFormat.Attributes(access, type, _preset);
        if (error != Errno.Success || attributes == 0 || (address.Value & GranuleMask) != 0
            || (type != MemoryType.Pma && (!_memoryTypes || (uint)type > (uint)MemoryType.Io)))
        {
            return error != Errno.Success ? error : Errno.InvalidArgument;
        }

        if (address.Value > _outputLast || length - 1 > _outputLast - address.Value)
        {
            return Errno.OutOfRange;
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

            if (TFormat.IsPresent(entry))
            {
                return Finish(Errno.AddressInUse);
            }

            if (shift == GranuleLog2)
            {
                WriteEntry(location, TFormat.EncodeLeaf(address.Value, attributes));
                return Finish(Errno.Success);
            }
        }

        else if (!granulesOnly && TryMapLeaf(start, address.Value, length, attributes))
        {
            return Finish(Errno.Success);
        }

        return MapRange(start, start + (length - 1), address.Value, attributes, granulesOnly, ref gather);
    }

    // A range that is one large leaf, whose tables above are there and whose place is empty. What else there may be is for the
    // general way to find out.
    private bool TryMapLeaf(ulong start, ulong address, ulong length, ulong attributes)
    {
        if (!ulong.IsPow2(length) || (_leafSizes & length) == 0 || ((start | address) & (length - 1)) != 0
            || length == 1ul << TFormat.ContiguousLog2)
        {
            return false;
        }

        int shift = ShiftOf(RootLevel);
        ulong location = _root + ((start >> shift) << TFormat.EntrySizeLog2);
        ulong entry = ReadEntry(location);
        while (length >> shift == 0)
        {
            ulong table = TFormat.IsTable(entry) ? OpenTable(entry) : 0;
            if (table == 0)
            {
                return false;
            }

            shift -= TFormat.IndexBits;
            location = table + (((start >> shift) & IndexMask) << TFormat.EntrySizeLog2);
            entry = ReadEntry(location);
        }

        if (TFormat.IsPresent(entry))
        {
            return false;
        }

        WriteEntry(location, TFormat.EncodeLeaf(address, attributes));
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private Errno MapRange(
        ulong start, ulong last, ulong address, ulong attributes, bool granulesOnly, ref InvalidationGather gather)
    {
        MapPlan plan = new() { Delta = address - start, Attributes = attributes, GranulesOnly = granulesOnly };
        Errno error = Finish(Survey(ref plan, _root, RootLevel, start, last));
        if (error != Errno.Success)
        {
            return error;
        }

        SparePages spare = new(this);
        error = spare.Reserve(plan.MissingTables);
        if (error == Errno.Success)
        {
            error = Fill(ref plan, ref spare, _root, RootLevel, start, last, ref gather);

            // Some are left over if another thread installed a table that both need.
            spare.Free();
            if (plan.TableBytesAdded != 0)
            {
                Interlocked.Add(ref _tableBytes, plan.TableBytesAdded);
            }
        }

        return Finish(error);
    }

    private bool CanHaveLeaves(in MapPlan plan, int level) =>
        !plan.GranulesOnly && ((1ul << ShiftOf(level)) & _leafSizes) != 0 && (plan.Delta & ((1ul << ShiftOf(level)) - 1)) == 0;

    private static void SplitSlots(ulong start, ulong last, int level, out int first, out int final, out int coveredFirst, out int coveredEnd)
    {
        // Slots that the range touches, and among them those that it covers.
        int shift = ShiftOf(level);
        ulong mask = (1ul << shift) - 1;
        first = IndexOf(start, level);
        final = IndexOf(last, level);
        coveredFirst = (start & mask) == 0 ? first : first + 1;
        coveredEnd = (last & mask) == mask ? final + 1 : final;
    }

    // What is in the way, and how many tables are missing. `table` is 0 where there is none yet.
    private Errno Survey(ref MapPlan plan, ulong table, int level, ulong start, ulong last)
    {
        SplitSlots(start, last, level, out int first, out int final, out int coveredFirst, out int coveredEnd);
        if (level == 0)
        {
            return table == 0 || IsRunEmpty(table, first, final - first + 1) ? Errno.Success : Errno.AddressInUse;
        }

        bool leaves = CanHaveLeaves(in plan, level);
        int shift = ShiftOf(level);
        ulong mask = (1ul << shift) - 1;
        for (int i = first; i <= final; i++)
        {
            bool isLeaf = leaves && i >= coveredFirst && i < coveredEnd;
            if (isLeaf && i == coveredFirst && (table == 0 || IsRunEmpty(table, i, coveredEnd - i)))
            {
                i = coveredEnd - 1;
                continue;
            }

            ulong entry = table == 0 ? 0 : ReadEntry(LocationOf(table, i));
            ulong child = 0;
            if (TFormat.IsTable(entry))
            {
                child = OpenTable(entry);
                if (child == 0)
                {
                    return Errno.IoError;
                }
            }
            else if (TFormat.IsPresent(entry))
            {
                return Errno.AddressInUse;
            }
            else if (isLeaf)
            {
                continue;
            }
            else
            {
                plan.MissingTables++;
                if (level == 1)
                {
                    continue;
                }
            }

            ulong from = i == first ? start : start - (start & mask) + ((ulong)(i - first) << shift);
            ulong to = i == final ? last : from | mask;
            Errno error = isLeaf
                ? IsTreeEmpty(child, level - 1) ? Errno.Success : Errno.AddressInUse
                : Survey(ref plan, child, level - 1, from, to);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        return Errno.Success;
    }

    private Errno Fill(
        ref MapPlan plan, ref SparePages spare, ulong table, int level, ulong start, ulong last, ref InvalidationGather gather)
    {
        SplitSlots(start, last, level, out int first, out int final, out int coveredFirst, out int coveredEnd);
        if (level == 0)
        {
            if (plan.GranulesOnly)
            {
                FillPlain(table, first, final - first + 1, start + plan.Delta, Granule, plan.Attributes);
            }
            else
            {
                FillLeaves(table, first, final - first + 1, level, start + plan.Delta, plan.Attributes);
            }

            return Errno.Success;
        }

        bool leaves = CanHaveLeaves(in plan, level);
        int shift = ShiftOf(level);
        ulong mask = (1ul << shift) - 1;
        for (int i = first; i <= final; i++)
        {
            ulong from = i == first ? start : start - (start & mask) + ((ulong)(i - first) << shift);
            ulong to = i == final ? last : from | mask;
            ulong location = LocationOf(table, i);
            if (leaves && i >= coveredFirst && i < coveredEnd)
            {
                if (i == coveredFirst && IsRunEmpty(table, i, coveredEnd - i))
                {
                    FillLeaves(table, i, coveredEnd - i, level, from + plan.Delta, plan.Attributes);
                    i = coveredEnd - 1;
                    continue;
                }

                // A table that is there is empty, and nobody else works in what it covers: the leaf takes its place.
                ulong old = ReadEntry(location);
                WriteEntry(location, TFormat.EncodeLeaf(from + plan.Delta, plan.Attributes));
                if (TFormat.IsTable(old))
                {
                    DetachedTree tree = default;
                    Detach(ref tree, old, level - 1, from, ref gather);
                    plan.TableBytesAdded -= tree.TableBytes;
                }

                continue;
            }

            ulong child = ChildOrInstall(ref plan, ref spare, location);
            Errno error = child == 0
                ? Errno.AddressInUse
                : Fill(ref plan, ref spare, child, level - 1, from, to, ref gather);
            if (error != Errno.Success)
            {
                // Only if the caller does not order operations on overlapping ranges.
                return error;
            }
        }

        return Errno.Success;
    }

    private ulong ChildOrInstall(ref MapPlan plan, ref SparePages spare, ulong location)
    {
        ulong entry = ReadEntry(location);
        if (!TFormat.IsPresent(entry))
        {
            if (!spare.TryPop(out ulong page, out ulong table))
            {
                return 0;
            }

            entry = ExchangeEntry(location, entry, TFormat.EncodeTable(page));
            if (!TFormat.IsPresent(entry))
            {
                plan.TableBytesAdded += 1L << TableSizeLog2;
                return table;
            }

            spare.Push(page);
        }

        return TFormat.IsTable(entry) ? OpenTable(entry) : 0;
    }

    // Writes adjacent leaves; those of level 0 become contiguous ones where address and length allow.
    private void FillLeaves(ulong table, int index, int count, int level, ulong address, ulong attributes)
    {
        ulong step = 1ul << ShiftOf(level);
        if (level == 0 && UsesContiguous && count >= ContiguousEntries)
        {
            int group = ContiguousEntries;
            ulong groupMask = (1ul << TFormat.ContiguousLog2) - 1;
            ulong position = (ulong)index << GranuleLog2;
            if (((position ^ address) & groupMask) == 0)
            {
                int head = (group - (index & (group - 1))) & (group - 1);
                int groups = (count - head) / group;
                if (groups > 0)
                {
                    FillPlain(table, index, head, address, step, attributes);
                    index += head;
                    count -= head;
                    address += (ulong)head * step;
                    for (; groups > 0; groups--)
                    {
                        ulong entry = TFormat.ToContiguous(TFormat.EncodeLeaf(address, attributes));
                        FillEqual(table, index, group, entry);
                        index += group;
                        count -= group;
                        address += (ulong)group * step;
                    }
                }
            }
        }

        FillPlain(table, index, count, address, step, attributes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void FillPlain(ulong table, int index, int count, ulong address, ulong step, ulong attributes)
    {
        ulong entry = TFormat.EncodeLeaf(address, attributes);
        ulong entryStep = TFormat.EncodeLeaf(step, 0);
        if (IsBulk)
        {
            EntryRuns.Fill((ulong*)LocationOf(table, index), count, entry, entryStep);
            return;
        }

        for (int i = 0; i < count; i++)
        {
            WriteEntry(LocationOf(table, index + i), entry);
            entry += entryStep;
        }
    }

    private void FillEqual(ulong table, int index, int count, ulong entry)
    {
        if (IsBulk)
        {
            EntryRuns.Fill((ulong*)LocationOf(table, index), count, entry);
            return;
        }

        for (int i = 0; i < count; i++)
        {
            WriteEntry(LocationOf(table, index + i), entry);
        }
    }

    private bool IsRunEmpty(ulong table, int index, int count)
    {
        if (IsBulk)
        {
            return EntryRuns.IsZero((ulong*)LocationOf(table, index), count);
        }

        for (int i = 0; i < count; i++)
        {
            if (TFormat.IsPresent(ReadEntry(LocationOf(table, index + i))))
            {
                return false;
            }
        }

        return true;
    }

    // Whether nothing is mapped in a table below the root or in those below it.
    private bool IsTreeEmpty(ulong table, int level)
    {
        if (table == 0 || IsRunEmpty(table, 0, 1 << TFormat.IndexBits))
        {
            return true;
        }

        for (int i = 0; level > 0 && i < 1 << TFormat.IndexBits; i++)
        {
            ulong entry = ReadEntry(LocationOf(table, i));
            if (TFormat.IsPresent(entry) && !(TFormat.IsTable(entry) && IsTreeEmpty(OpenTable(entry), level - 1)))
            {
                return false;
            }
        }

        return level > 0;
    }

    private struct MapPlan
    {
        // Physical address minus IOVA: the same all over the range.
        public ulong Delta;
        public ulong Attributes;
        public bool GranulesOnly;
        public int MissingTables;
        public long TableBytesAdded;
    }
}
