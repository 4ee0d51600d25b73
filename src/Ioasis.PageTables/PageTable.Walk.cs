using Ioasis.Primitives;

namespace Ioasis.PageTables;

// Looking at the table without changing it.
internal sealed unsafe partial class PageTable<TFormat, TMemory>
{
    /// <inheritdoc/>
    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize)
    {
        ulong value = iova.Value;
        address = default;
        access = Access.None;
        leafSize = 0;
        if (value > _apertureLast || !TryDescend(value, 0, out _, out ulong entry, out int level) || !IsPresent(entry))
        {
            return false;
        }

        leafSize = 1ul << LeafLog2Of(entry, level);
        address = new(TFormat.LeafAddress(entry, level) | (value & (leafSize - 1)));
        access = TFormat.AccessOf(entry, level, _preset);
        return true;
    }

    /// <inheritdoc/>
    public override bool TryFindNext(Iova from, out PageMapping mapping)
    {
        mapping = default;
        return from.Value <= _apertureLast && FindNext(new(_root, RootLevel, from.Value, _apertureLast), out mapping);
    }

    private bool FindNext(TableCursor at, out PageMapping mapping)
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
                if (FindNext(at.Below(OpenTable(entry, at.Level)), out mapping))
                {
                    return true;
                }

                continue;
            }

            ulong mask = (1ul << LeafLog2Of(entry, at.Level)) - 1;
            mapping = new(
                new(at.SlotStart & ~mask, at.SlotStart | mask),
                new(TFormat.LeafAddress(entry, at.Level)),
                TFormat.AccessOf(entry, at.Level, _preset),
                TFormat.TypeOf(entry, at.Level));
            return true;
        }

        mapping = default;
        return false;
    }

    private static int LeafLog2Of(ulong entry, int level) =>
        IsContiguous(entry, level) ? TFormat.ContiguousLog2 : ShiftOf(level);
}
