using System.Numerics;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>Which commands an unmap needs in one IOMMU (sections 3.1.1, 6.3.5, 8.2, 8.3; S4.13).</summary>
internal static class InvalidationPlan
{
    /// <summary>Most commands that a plan can have, whatever the limit.</summary>
    public const int MaxCommands = 64;

    /// <summary>Bytes of the smallest leaf that is not made of entries of the last level.</summary>
    public const ulong SmallestSuperpage = 1ul << 21;

    /// <summary>Fills in the commands; the fence is the queue's own.</summary>
    /// <param name="gather">What was unmapped; not empty.</param>
    /// <param name="capabilities">What the IOMMU can do.</param>
    /// <param name="tag">The domain's name there.</param>
    /// <param name="limit">Most commands; above, one for the whole address space takes their place.</param>
    /// <param name="commands">At least <paramref name="limit"/> long.</param>
    /// <param name="isCollapsed">Whether the limit was exceeded.</param>
    /// <returns>How many commands there are, 1 to <paramref name="limit"/>.</returns>
    public static int Build(
        in InvalidationGather gather,
        Capabilities capabilities,
        SpaceTag tag,
        int limit,
        Span<Command> commands,
        out bool isCollapsed)
    {
        isCollapsed = false;
        bool nonLeaf = gather.NonLeaf;

        // Without the extension, only an invalidation without address reaches cached non-leaf entries.
        if (!nonLeaf || capabilities.NonLeafInvalidation)
        {
            AddressRange range = gather.Range;
            int strideLog2 = StrideLog2(gather.LeafSizes);
            ulong first = range.Start >> strideLog2;
            ulong count = (range.Last >> strideLog2) - first + 1;
            if (count == 1)
            {
                commands[0] = tag.Invalidate(range.Start, nonLeaf: nonLeaf);
                return 1;
            }

            int used = capabilities.RangeInvalidation
                ? FillRanges(range, tag, nonLeaf, commands[..limit])
                : FillLeaves(first, count, strideLog2, tag, nonLeaf, commands[..limit]);
            if (used > 0)
            {
                return used;
            }

            isCollapsed = true;
        }

        commands[0] = tag.InvalidateAll;
        return 1;
    }

    /// <summary>Whether a plan is one invalidation of the address space.</summary>
    public static bool IsFlush(in Command command) => (command.Low & CommandBits.AddressValidBit) == 0;

    // The smallest leaf decides. A NAPOT leaf is 16 entries, each of which may be cached for itself.
    private static int StrideLog2(ulong leafSizes)
    {
        int log2 = leafSizes == 0 ? 12 : BitOperations.TrailingZeroCount(leafSizes);
        return (log2 - 12) % 9 == 0 ? log2 : 12;
    }

    private static int FillLeaves(
        ulong first, ulong count, int strideLog2, SpaceTag tag, bool nonLeaf, Span<Command> commands)
    {
        if (count > (ulong)commands.Length)
        {
            return 0;
        }

        for (int i = 0; i < (int)count; i++)
        {
            commands[i] = tag.Invalidate((first + (ulong)i) << strideLog2, nonLeaf: nonLeaf);
        }

        return (int)count;
    }

    // Naturally aligned powers of two, from the start on; 0 if they are too many.
    private static int FillRanges(AddressRange range, SpaceTag tag, bool nonLeaf, Span<Command> commands)
    {
        ulong page = range.Start >> 12;
        ulong left = (range.Last >> 12) - page + 1;
        int used = 0;
        while (left > 0)
        {
            if (used == commands.Length)
            {
                return 0;
            }

            int log2 = Math.Min(BitOperations.Log2(left), page == 0 ? 51 : BitOperations.TrailingZeroCount(page));
            commands[used++] = tag.Invalidate(page << 12, log2 + 12, nonLeaf);
            page += 1ul << log2;
            left -= 1ul << log2;
        }

        return used;
    }
}
