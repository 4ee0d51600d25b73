using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// The one-to-one mappings that devices need in a domain, each for as long as one of them does. What an IOMMU does not confirm to
/// be gone is kept in mind: devices may still reach it, so that its IOVAs must not mean anything else (invariant 1). Not
/// thread-safe.
/// </summary>
internal sealed class DirectMappings
{
    private readonly PagingDomain _domain;
    private readonly UnmapBatch _batch;
    private readonly List<(AddressRange Range, object Owner)> _regions = [];
    private readonly IntervalSet _unconfirmed = [];

    public DirectMappings(PagingDomain domain)
    {
        _domain = domain;
        _batch = new(domain);
    }

    /// <summary>What nobody needs any more and devices may still reach.</summary>
    public IntervalSet Unconfirmed => _unconfirmed;

    /// <summary>For audits: regions that devices need, each once for each device.</summary>
    internal int Count => _regions.Count;

    /// <summary>Maps the direct regions of a device, as far as another has not had them mapped. All or nothing.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> outside the aperture; <see cref="Errno.IoError"/> if what was there before may
    /// still be reached; the domain's errors.
    /// </returns>
    public Errno Add(IReadOnlyList<ReservedRegion> regions, object owner)
    {
        foreach (ReservedRegion region in regions)
        {
            if (region.Kind != ReservedRegionKind.Direct)
            {
                continue;
            }

            // Whole pages, for a table cannot say less.
            const ulong Mask = AddressSpace.PageSize - 1;
            AddressRange range = new(region.Range.Start & ~Mask, region.Range.Last | Mask);
            Errno error = _unconfirmed.Overlaps(range) && Settle() != Errno.Success ? Errno.IoError : Errno.Success;
            error = error == Errno.Success ? Map(Covered().Complement(range), region.Access) : error;
            if (error != Errno.Success)
            {
                // What stays without confirmation is for the caller to see.
                _ = Remove(owner);
                return error == Errno.OutOfRange ? Errno.InvalidArgument : error;
            }

            _regions.Add((range, owner));
        }

        return Errno.Success;
    }

    /// <summary>Unmaps what only <paramref name="owner"/> needed.</summary>
    /// <returns>Success, or <see cref="Errno.IoError"/>: then <see cref="Unconfirmed"/> says what is left.</returns>
    public Errno Remove(object owner)
    {
        List<AddressRange> gone =
            [.. _regions.Where(entry => ReferenceEquals(entry.Owner, owner)).Select(static entry => entry.Range)];
        if (gone.Count > 0)
        {
            _ = _regions.RemoveAll(entry => ReferenceEquals(entry.Owner, owner));
            IntervalSet covered = Covered();
            foreach (AddressRange range in gone)
            {
                foreach (AddressRange piece in covered.Complement(range))
                {
                    _unconfirmed.Add(piece);
                }
            }
        }

        return Settle();
    }

    /// <summary>Takes something else out of the tables that must not be reached any more.</summary>
    /// <returns>As <see cref="Remove"/>.</returns>
    public Errno Abandon(AddressRange range)
    {
        _unconfirmed.Add(range);
        return Settle();
    }

    /// <summary>Takes out of the tables what nobody needs any more, and has the IOMMUs confirm it.</summary>
    /// <returns>Success if nothing is left, or <see cref="Errno.IoError"/>.</returns>
    public Errno Settle()
    {
        if (_unconfirmed.Count == 0)
        {
            return Errno.Success;
        }

        // What went in an earlier call is a hole now, and its invalidation still in the batch.
        bool isGone = true;
        foreach (AddressRange range in _unconfirmed)
        {
            isGone &= _batch.Unmap(new(range.Start), range.Length) == Errno.Success;
        }

        isGone &= _batch.Complete() == Errno.Success;
        if (!isGone)
        {
            return Errno.IoError;
        }

        _unconfirmed.Clear();
        return Errno.Success;
    }

    private Errno Map(IntervalSet pieces, Access access)
    {
        for (int i = 0; i < pieces.Count; i++)
        {
            Errno error = _domain.Map(new(pieces[i].Start), new(pieces[i].Start), pieces[i].Length, access);
            if (error != Errno.Success)
            {
                while (--i >= 0)
                {
                    _unconfirmed.Add(pieces[i]);
                }

                _ = Settle();
                return error;
            }
        }

        return Errno.Success;
    }

    private IntervalSet Covered() => IntervalSet.FromUnsorted(_regions.Select(static entry => entry.Range));
}
