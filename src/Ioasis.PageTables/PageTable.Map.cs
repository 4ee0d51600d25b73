using System.Numerics;
using System.Runtime.CompilerServices;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Mapping. A survey finds what is in the way and how many tables are missing; then the pages are taken; then the entries are
// written, which cannot fail. A single granule whose tables are there takes none of these steps.
internal sealed unsafe partial class PageTable<TFormat, TMemory>
{
    /// <inheritdoc/>
    public override Errno Map(
        Iova iova,
        PhysicalAddress address,
        ulong length,
        Access access,
        ref InvalidationGather gather,
        MemoryType type = MemoryType.Default,
        bool granulesOnly = false)
    {
        ulong start = iova.Value;
        Errno error = CheckRange(start, length);
        ulong attributes = TFormat.Attributes(access, type, _preset);
        if (error != Errno.Success || attributes == 0 || (address.Value & GranuleMask) != 0
            || (type != MemoryType.Default && (!_memoryTypes || (uint)type > (uint)MemoryType.Io)))
        {
            return error != Errno.Success ? error : Errno.InvalidArgument;
        }

        if (address.Value > _outputLast || length - 1 > _outputLast - address.Value)
        {
            return Errno.OutOfRange;
        }

        if (length == Granule)
        {
            if (!TryDescend(start, 0, out ulong location, out ulong entry, out int level))
            {
                return Errno.IoError;
            }

            if (IsPresent(entry))
            {
                return Finish(Errno.AddressInUse);
            }

            if (level == 0)
            {
                WriteEntry(location, TFormat.EncodeLeaf(address.Value, attributes, 0));
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

        int leafLevel = (BitOperations.Log2(length) - GranuleLog2) / TFormat.IndexBits;
        if (!TryDescend(start, leafLevel, out ulong location, out ulong entry, out int level) || level != leafLevel
            || IsPresent(entry))
        {
            return false;
        }

        WriteEntry(location, TFormat.EncodeLeaf(address, attributes, level));
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

    // What is in the way, and how many tables are missing. `table` is 0 where there is none yet.
    private Errno Survey(ref MapPlan plan, ulong table, int level, ulong start, ulong last)
    {
        TableCursor at = new(table, level, start, last);
        if (at.Level == 0)
        {
            return at.Table == 0 || IsRunEmpty(at.Table, at.Index, at.Count) ? Errno.Success : Errno.AddressInUse;
        }

        bool leaves = CanHaveLeaves(in plan, at.Level);
        bool wasLeaf = false;
        for (; at.IsInside; at.Move())
        {
            bool isLeaf = leaves && at.IsWhole;
            if (isLeaf && !wasLeaf && (at.Table == 0 || IsRunEmpty(at.Table, at.Index, at.WholeCount)))
            {
                at.Move(at.WholeCount - 1);
                continue;
            }

            wasLeaf = isLeaf;

            ulong entry = at.Table == 0 ? 0 : ReadEntry(at.Location);
            ulong child = 0;
            if (TFormat.IsTable(entry, at.Level))
            {
                child = OpenTable(entry, at.Level);
                if (child == 0)
                {
                    return Errno.IoError;
                }
            }
            else if (IsPresent(entry))
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
                if (at.Level == 1)
                {
                    continue;
                }
            }

            Errno error = isLeaf
                ? IsTreeEmpty(child, at.Level - 1) ? Errno.Success : Errno.AddressInUse
                : Survey(ref plan, child, at.Level - 1, at.Start, at.Last);
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
        TableCursor at = new(table, level, start, last);
        if (at.Level == 0)
        {
            ulong address = at.Start + plan.Delta;
            if (plan.GranulesOnly)
            {
                FillPlain(at.Table, at.Index, at.Count, 0, address, plan.Attributes);
            }
            else
            {
                FillLeaves(at.Table, at.Index, at.Count, 0, address, plan.Attributes);
            }

            return Errno.Success;
        }

        bool leaves = CanHaveLeaves(in plan, at.Level);
        bool wasLeaf = false;
        for (; at.IsInside; at.Move())
        {
            if (leaves && at.IsWhole)
            {
                if (!wasLeaf && IsRunEmpty(at.Table, at.Index, at.WholeCount))
                {
                    FillLeaves(at.Table, at.Index, at.WholeCount, at.Level, at.SlotStart + plan.Delta, plan.Attributes);
                    at.Move(at.WholeCount - 1);
                    continue;
                }

                // A table that is there is empty, and nobody else works in what it covers: the leaf takes its place.
                wasLeaf = true;
                ulong old = ReadEntry(at.Location);
                WriteEntry(at.Location, TFormat.EncodeLeaf(at.SlotStart + plan.Delta, plan.Attributes, at.Level));
                if (TFormat.IsTable(old, at.Level))
                {
                    DetachedTree tree = default;
                    Detach(ref tree, old, at.Level, at.SlotStart, ref gather);
                    plan.TableBytesAdded -= tree.TableBytes;
                }

                continue;
            }

            ulong child = ChildOrInstall(ref plan, ref spare, at.Location, at.Level);
            Errno error = child == 0
                ? Errno.AddressInUse
                : Fill(ref plan, ref spare, child, at.Level - 1, at.Start, at.Last, ref gather);
            if (error != Errno.Success)
            {
                // Only if the caller does not order operations on overlapping ranges.
                return error;
            }
        }

        return Errno.Success;
    }

    private ulong ChildOrInstall(ref MapPlan plan, ref SparePages spare, ulong location, int level)
    {
        ulong entry = ReadEntry(location);
        if (!IsPresent(entry))
        {
            if (!spare.TryPop(out ulong page, out ulong table))
            {
                return 0;
            }

            entry = ExchangeEntry(location, entry, TFormat.EncodeTable(page, level));
            if (!IsPresent(entry))
            {
                plan.TableBytesAdded += 1L << TableSizeLog2;
                return table;
            }

            spare.Push(page);
        }

        return TFormat.IsTable(entry, level) ? OpenTable(entry, level) : 0;
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
                    FillPlain(table, index, head, level, address, attributes);
                    index += head;
                    count -= head;
                    address += (ulong)head * step;
                    for (; groups > 0; groups--)
                    {
                        ulong entry = TFormat.ToContiguous(TFormat.EncodeLeaf(address, attributes, level));
                        FillEqual(table, index, group, entry);
                        index += group;
                        count -= group;
                        address += (ulong)group * step;
                    }
                }
            }
        }

        FillPlain(table, index, count, level, address, attributes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void FillPlain(ulong table, int index, int count, int level, ulong address, ulong attributes)
    {
        ulong entry = TFormat.EncodeLeaf(address, attributes, level);
        ulong entryStep = TFormat.EncodeLeaf(1ul << ShiftOf(level), 0, level) - TFormat.EncodeLeaf(0, 0, level);
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
            if (IsPresent(ReadEntry(LocationOf(table, index + i))))
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
            if (IsPresent(entry) && !(TFormat.IsTable(entry, level) && IsTreeEmpty(OpenTable(entry, level), level - 1)))
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
