using System.Numerics;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>Which descriptors an unmap needs in one IOMMU (sections 6.5.2.3, 6.5.2.4, Table 22; S4.13).</summary>
internal static class InvalidationPlan
{
    /// <summary>Most descriptors that a plan can have, whatever the limit.</summary>
    public const int MaxDescriptors = 64;

    /// <summary>Fills in the descriptors; the wait is the queue's own.</summary>
    /// <param name="gather">What was unmapped; not empty.</param>
    /// <param name="bond">Where.</param>
    /// <param name="isFirstStage">Whether it is cached by PASID.</param>
    /// <param name="descriptors">At least <see cref="MaxDescriptors"/> long.</param>
    /// <param name="kind">What it is counted as.</param>
    /// <returns>How many descriptors there are; 0 if nothing of it can be cached.</returns>
    public static int Build(
        in InvalidationGather gather, Bond bond, bool isFirstStage, Span<QueueDescriptor> descriptors, out BatchKind kind)
    {
        VtdIommuInstance iommu = bond.Iommu;
        int limit = iommu.InvalidationLimit;
        ulong drains = iommu.DrainBits;
        kind = BatchKind.Synchronisation;

        // Where absence is cached, so is that of tables, which a map has made.
        bool leavesOnly = !gather.NonLeaf && !iommu.MapsNeedInvalidation;
        uint[] pasids = bond.Pasids;
        if (isFirstStage ? pasids.Length * 2 <= limit : iommu.MaxAddressMask >= 0)
        {
            // As many blocks as fit under each PASID.
            int blocks = isFirstStage && pasids.Length > 1 ? limit / pasids.Length : limit;
            Span<(ulong Address, int Mask)> parts = stackalloc (ulong, int)[MaxDescriptors];
            int count = Split(gather.Range, Math.Max(0, iommu.MaxAddressMask), parts[..blocks]);
            int used = 0;
            foreach ((ulong address, int mask) in parts[..count])
            {
                if (!isFirstStage)
                {
                    descriptors[used++] = QueueDescriptor.Translations(bond.DomainId, address, mask, leavesOnly, drains);
                    continue;
                }

                foreach (uint pasid in pasids)
                {
                    descriptors[used++] = QueueDescriptor.FirstStage(bond.DomainId, pasid, address, mask, leavesOnly);
                }
            }

            if (count > 0)
            {
                return used;
            }

            kind |= BatchKind.Collapse;
        }

        kind |= BatchKind.Flush;
        if (!isFirstStage || pasids.Length > limit)
        {
            descriptors[0] = QueueDescriptor.Translations(bond.DomainId, drains);
            return 1;
        }

        for (int i = 0; i < pasids.Length; i++)
        {
            descriptors[i] = QueueDescriptor.FirstStage(bond.DomainId, pasids[i]);
        }

        return pasids.Length;
    }

    /// <summary>As <see cref="Build"/>, for what a guest invalidates of its first stage.</summary>
    /// <param name="range">The guest's addresses; null for all.</param>
    /// <param name="leavesOnly">No entry that leads to a table was changed.</param>
    /// <param name="bond">The bond of the second stage.</param>
    /// <param name="pasid">The PASID that has the table.</param>
    /// <param name="descriptors">At least <see cref="MaxDescriptors"/> long.</param>
    public static int BuildForGuest(AddressRange? range, bool leavesOnly, Bond bond, uint pasid, Span<QueueDescriptor> descriptors)
    {
        Span<(ulong Address, int Mask)> parts = stackalloc (ulong, int)[MaxDescriptors];
        int count = range is { } part ? Split(part, Math.Max(0, bond.Iommu.MaxAddressMask), parts[..bond.Iommu.InvalidationLimit]) : 0;
        for (int i = 0; i < count; i++)
        {
            descriptors[i] = QueueDescriptor.FirstStage(bond.DomainId, pasid, parts[i].Address, parts[i].Mask, leavesOnly);
        }

        if (count == 0)
        {
            descriptors[count++] = QueueDescriptor.FirstStage(bond.DomainId, pasid);
        }

        return count;
    }

    // Naturally aligned powers of two, from the start on; 0 if they are too many.
    private static int Split(AddressRange range, int maxMask, Span<(ulong Address, int Mask)> parts)
    {
        ulong page = range.Start >> 12;
        ulong left = (range.Last >> 12) - page + 1;
        int used = 0;
        while (left > 0)
        {
            if (used == parts.Length)
            {
                return 0;
            }

            int log2 = Math.Min(Math.Min(BitOperations.Log2(left), page == 0 ? 51 : BitOperations.TrailingZeroCount(page)), maxMask);
            parts[used++] = (page << 12, log2);
            page += 1ul << log2;
            left -= 1ul << log2;
        }

        return used;
    }
}
