using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Dirty tracking: the hardware marks the leaves through which it writes, software reads the marks and takes them off.
internal sealed unsafe partial class PageTable<TFormat, TMemory>
{
    /// <inheritdoc/>
    public override Errno ReadDirty(AddressRange range, in DirtyBitmap bitmap, bool clear, ref InvalidationGather gather)
    {
        if (!_hardwareDirty)
        {
            return Errno.NotSupported;
        }

        if (range.Last > _apertureLast)
        {
            return Errno.OutOfRange;
        }

        CollectDirty(new(_root, RootLevel, range.Start, range.Last), range, in bitmap, clear, ref gather);
        return Finish(Errno.Success);
    }

    private void CollectDirty(
        TableCursor at, AddressRange range, in DirtyBitmap bitmap, bool clear, ref InvalidationGather gather)
    {
        for (; at.Table != 0 && at.IsInside; at.Move())
        {
            ulong entry = ReadEntry(at.Location);
            if (!IsPresent(entry))
            {
                continue;
            }

            if (IsTable(entry, at.Level))
            {
                CollectDirty(at.Below(OpenTable(entry, at.Level)), range, in bitmap, clear, ref gather);
                continue;
            }

            bool contiguous = IsContiguous(entry, at.Level);
            int head = contiguous ? at.Index & ~(ContiguousEntries - 1) : at.Index;
            int entries = contiguous ? ContiguousEntries : 1;
            int leafLog2 = LeafLog2Of(entry, at.Level);
            ulong leafMask = (1ul << leafLog2) - 1;
            AddressRange leaf = new(at.SlotStart & ~leafMask, at.SlotStart | leafMask);
            bool makeClean = clear && range.Contains(leaf);
            if (ReadDirtyLeaf(at.Table, at.Level, head, entries, makeClean))
            {
                _ = leaf.TryIntersect(range, out AddressRange dirty);
                bitmap.Set(dirty);
                if (makeClean)
                {
                    gather.AddLeaves(leaf.Start, leaf.Last, leafLog2);
                }
            }

            at.Move(head + entries - 1 - at.Index);
        }
    }

    private bool ReadDirtyLeaf(ulong table, int level, int head, int entries, bool clear)
    {
        bool dirty = false;
        for (int i = head; i < head + entries; i++)
        {
            ulong location = LocationOf(table, i);
            ulong entry = ReadEntry(location);
            while (IsPresent(entry) && TFormat.IsDirty(entry, level))
            {
                dirty = true;
                if (!clear)
                {
                    break;
                }

                ulong observed = ExchangeEntry(location, entry, TFormat.ToClean(entry, level));
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
