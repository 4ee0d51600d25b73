using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// Regions that firmware wants mapped one to one, because a device does DMA there before, or beside, its driver. They
/// stay in a domain as long as it lives.
/// </summary>
internal static class DirectRegions
{
    /// <summary>
    /// Makes sure that the direct regions of a device are mapped one to one; what is mapped so already is left alone. All or
    /// nothing.
    /// </summary>
    /// <param name="domain">A domain that the device is not attached to yet.</param>
    /// <param name="device">The device.</param>
    /// <param name="withRelaxable">Whether relaxable regions count: for a default domain, which serves before any driver.</param>
    /// <param name="isUndone">
    /// False if what was mapped before an error could not be taken back: other devices of the domain may still reach the regions, so
    /// that their IOVAs must not mean anything else.
    /// </param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if a region is outside the aperture or something else is mapped there; or the
    /// error of the map.
    /// </returns>
    public static Errno Map(PagingDomain domain, IommuDevice device, bool withRelaxable, out bool isUndone)
    {
        isUndone = true;
        List<AddressRange> mapped = [];
        ulong mask = (domain.PageSizes & (0 - domain.PageSizes)) - 1;
        Errno error = Errno.Success;
        foreach (ReservedRegion region in device.GetReservedRegions())
        {
            if (region.Kind == ReservedRegionKind.Direct || (withRelaxable && region.Kind == ReservedRegionKind.DirectRelaxable))
            {
                // Whole granules, for a table cannot say less.
                AddressRange range = new(region.Range.Start & ~mask, region.Range.Last | mask);
                error = domain.Aperture.Contains(range) ? MapRange(domain, range, region.Access, mapped) : Errno.InvalidArgument;
                if (error != Errno.Success)
                {
                    break;
                }
            }
        }

        if (error != Errno.Success && mapped.Count > 0)
        {
            InvalidationGather gather = default;
            foreach (AddressRange range in mapped)
            {
                isUndone &= domain.Unmap(new(range.Start), range.Length, ref gather, out _) == Errno.Success;
            }

            isUndone &= domain.Sync(ref gather) == Errno.Success;
        }

        return error;
    }

    private static Errno MapRange(PagingDomain domain, AddressRange range, Access access, List<AddressRange> mapped)
    {
        ulong granule = domain.PageSizes & (0 - domain.PageSizes);
        ulong position = range.Start;
        while (true)
        {
            ulong start = position;
            while (position <= range.Last && !domain.TryTranslate(new(position), out _, out _, out _))
            {
                position += granule;
            }

            if (position > start)
            {
                Errno error = domain.Map(new(start), new(start), position - start, access);
                if (error != Errno.Success)
                {
                    return error;
                }

                mapped.Add(new(start, position - 1));
            }

            while (position <= range.Last && domain.TryTranslate(new(position), out PhysicalAddress address, out _, out _))
            {
                if (address.Value != position)
                {
                    return Errno.InvalidArgument;
                }

                position += granule;
            }

            if (position > range.Last)
            {
                return Errno.Success;
            }
        }
    }
}
