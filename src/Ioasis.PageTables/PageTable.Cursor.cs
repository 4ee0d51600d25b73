using System.Runtime.CompilerServices;

namespace Ioasis.PageTables;

// The ways through a table: straight down for one IOVA, and slot by slot for a range. Every other part goes by these.
internal sealed unsafe partial class PageTable<TFormat, TMemory>
{
    private TableCursor Everything => new(_root, RootLevel, 0, (1ul << (ShiftOf(RootLevel) + TFormat.RootIndexBits)) - 1);

    /// <summary>
    /// Goes down to the entry that decides about an IOVA within the aperture: the first that does not point to a table, or the
    /// one of level <paramref name="stop"/>.
    /// </summary>
    /// <returns>Whether all tables on the way can be reached.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryDescend(ulong iova, int stop, out ulong location, out ulong entry, out int level)
    {
        // The IOVA is within the aperture, so that the index of the root needs no mask.
        level = RootLevel;
        int shift = ShiftOf(RootLevel);
        location = _root + ((iova >> shift) << TFormat.EntrySizeLog2);
        entry = ReadEntry(location);
        while (level > stop && TFormat.IsTable(entry, level))
        {
            ulong table = OpenTable(entry, level);
            if (table == 0)
            {
                return false;
            }

            level--;
            shift -= TFormat.IndexBits;
            location = table + (((iova >> shift) & IndexMask) << TFormat.EntrySizeLog2);
            entry = ReadEntry(location);
        }

        return true;
    }

    /// <summary>
    /// A place in a table: which slots of it a range touches, and at which of them an operation is. Bounds that are called last
    /// are inclusive, those that are called end are not.
    /// </summary>
    private struct TableCursor
    {
        private readonly ulong _start;
        private readonly ulong _last;

        /// <summary>Puts the cursor at the first slot that a range touches.</summary>
        /// <param name="table">Location of the table; 0 for one that is not there.</param>
        /// <param name="level">Its level.</param>
        /// <param name="start">First IOVA of the part of the range that the table translates.</param>
        /// <param name="last">Last IOVA of it.</param>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public TableCursor(ulong table, int level, ulong start, ulong last)
        {
            Table = table;
            Level = level;
            _start = start;
            _last = last;
            int shift = ShiftOf(level);
            ulong slots = level == RootLevel ? ulong.MaxValue : IndexMask;
            Index = (int)((start >> shift) & slots);
            EndIndex = (int)((last >> shift) & slots) + 1;
            SlotStart = start & ~((1ul << shift) - 1);
        }

        /// <summary>Location of the table; 0 for one that is not there.</summary>
        public readonly ulong Table { get; }

        /// <summary>The level of the table.</summary>
        public readonly int Level { get; }

        /// <summary>The slot.</summary>
        public int Index { get; private set; }

        /// <summary>The end of the slots that the range touches.</summary>
        public readonly int EndIndex { get; }

        /// <summary>First IOVA of the slot.</summary>
        public ulong SlotStart { get; private set; }

        /// <summary>Last IOVA of the slot.</summary>
        public readonly ulong SlotLast => SlotStart | ((1ul << ShiftOf(Level)) - 1);

        /// <summary>Whether the cursor is still at a slot that the range touches.</summary>
        public readonly bool IsInside => Index < EndIndex;

        /// <summary>Slots from this one to the end.</summary>
        public readonly int Count => EndIndex - Index;

        /// <summary>Whether the range covers the slot wholly.</summary>
        public readonly bool IsWhole => SlotStart >= _start && SlotLast <= _last;

        /// <summary>Slots from this one on that the range covers wholly.</summary>
        public readonly int WholeCount
        {
            get
            {
                ulong mask = (1ul << ShiftOf(Level)) - 1;
                return !IsWhole ? 0 : (_last & mask) == mask ? Count : Count - 1;
            }
        }

        /// <summary>Where the entry of the slot is.</summary>
        public readonly ulong Location => LocationOf(Table, Index);

        /// <summary>First IOVA of the range in the slot.</summary>
        public readonly ulong Start => Math.Max(SlotStart, _start);

        /// <summary>Last IOVA of the range in the slot.</summary>
        public readonly ulong Last => Math.Min(SlotLast, _last);

        /// <summary>Goes on by one slot, or more.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Move(int slots = 1)
        {
            Index += slots;
            SlotStart += (ulong)slots << ShiftOf(Level);
        }

        /// <summary>A cursor in the table below the slot, for the same range.</summary>
        public readonly TableCursor Below(ulong table) => new(table, Level - 1, Start, Last);
    }
}
