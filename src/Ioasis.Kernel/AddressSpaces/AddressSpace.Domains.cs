using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Domains, ranges and options of an address space.</content>
internal sealed partial class AddressSpace
{
    /// <summary>
    /// Adds a domain and maps every area in it; its aperture limits the IOVAs from now on (S3.6). Nothing may be attached to
    /// it yet.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.AddressInUse"/> if an area is misaligned for it or outside its aperture (S3.2 gives VFIO's
    /// number); <see cref="Errno.InvalidArgument"/> if its pages are too large; or why an area could not be mapped.
    /// </returns>
    public Errno AddDomain(PagingDomain domain, out AddressSpaceDomain? added)
    {
        added = null;
        AddressSpaceDomain candidate = new(domain, _lazyOptions);
        using (_lock.Acquire())
        {
            _ = FlushAll();
            ulong alignment = ComputeAlignment(_largePages, candidate.Granule);
            if (alignment > PageSize)
            {
                return Errno.InvalidArgument;
            }

            if (!AreAligned(alignment))
            {
                return Errno.AddressInUse;
            }

            Errno error = Reserve([.. Outside(domain.Aperture)], candidate);
            if (error != Errno.Success)
            {
                return error;
            }

            error = FillAll(domain);
            if (error != Errno.Success)
            {
                ReleaseLimits(candidate);
                return error;
            }

            _alignment = alignment;
            _domains.Add(candidate);
            added = candidate;
            return Errno.Success;
        }
    }

    /// <summary>
    /// Forgets a domain to which nothing is attached any more; the caller disposes it, which ends its mappings. The ranges
    /// widen again (S3.4); with the last domain the memory is unpinned.
    /// </summary>
    /// <returns>
    /// Whether it is forgotten. If not, a device may still translate by it (<see cref="Domain.IsInDoubt"/>): it must not be
    /// disposed, and its memory stays pinned.
    /// </returns>
    public bool RemoveDomain(AddressSpaceDomain domain)
    {
        using (_lock.Acquire())
        {
            if (domain.Domain.IsInDoubt)
            {
                return false;
            }

            // With nothing attached nothing is cached, whatever is still in the tables.
            _ = domain.Lazy.Flush();
            foreach (Area area in domain.Stuck)
            {
                if (--area.Waiting == 0)
                {
                    Free(area);
                }
            }

            domain.Stuck.Clear();
            _ = _domains.Remove(domain);
            ReleaseLimits(domain.Direct);
            ReleaseLimits(domain);
            _alignment = ComputeAlignment(_largePages, 1);
            if (_domains.Count == 0)
            {
                UnpinAll();
            }

            return true;
        }
    }

    /// <summary>Maps the direct regions of a device in a domain one to one; see <see cref="DirectMappings.Add"/>.</summary>
    public Errno MapDirect(AddressSpaceDomain domain, IReadOnlyList<ReservedRegion> regions, object owner)
    {
        using (_lock.Acquire())
        {
            Errno error = domain.Direct.Add(regions, owner);
            ReserveUnconfirmed(domain);
            return error;
        }
    }

    /// <summary>
    /// Undoes <see cref="MapDirect"/>. What an IOMMU does not confirm to be gone stays reserved until it does, whoever gives back the
    /// regions themselves.
    /// </summary>
    public void UnmapDirect(AddressSpaceDomain domain, object owner)
    {
        using (_lock.Acquire())
        {
            _ = domain.Direct.Remove(owner);
            ReserveUnconfirmed(domain);
        }
    }

    /// <summary>Keeps the reserved regions of a device free, as far as they matter once a driver has the device (S3.3).</summary>
    /// <returns>
    /// Success; <see cref="Errno.AddressInUse"/> over a live area or an allowed range; <see cref="Errno.InvalidArgument"/> if no
    /// IOVA would be left (S3.12). Nothing has changed then.
    /// </returns>
    public Errno ReserveRegions(IReadOnlyList<ReservedRegion> regions, object owner)
    {
        List<AddressRange> ranges = new(regions.Count);
        foreach (ReservedRegion region in regions)
        {
            if (region.Kind != ReservedRegionKind.DirectRelaxable)
            {
                ranges.Add(region.Range);
            }
        }

        using (_lock.Acquire())
        {
            return Reserve(ranges, owner);
        }
    }

    /// <summary>As <see cref="ReserveRegions"/> of one range, which may be all that is left.</summary>
    public Errno ReserveFor(AddressRange range, object owner)
    {
        using (_lock.Acquire())
        {
            return Reserve([range], owner, mayLeaveNothing: true);
        }
    }

    /// <summary>Gives back what <see cref="ReserveRegions"/> took for an owner.</summary>
    public void ReleaseRegions(object owner)
    {
        using (_lock.Acquire())
        {
            ReleaseLimits(owner);
        }
    }

    /// <summary>Replaces the list of IOVAs that shall stay usable.</summary>
    public Errno Allow(IntervalSet allowed)
    {
        using (_lock.Acquire())
        {
            Errno error = _limits.Allow(allowed);
            if (error == Errno.Success)
            {
                Unblock();
            }

            return error;
        }
    }

    /// <summary>Page sizes that every domain has; all bits without a domain.</summary>
    public ulong GetPageSizes()
    {
        using (_lock.Acquire())
        {
            ulong sizes = ulong.MaxValue;
            foreach (AddressSpaceDomain domain in _domains)
            {
                sizes &= domain.Domain.PageSizes;
            }

            return sizes;
        }
    }

    /// <summary>Reads the usable IOVAs and the alignment at one moment.</summary>
    public AddressRange[] GetUsable(out ulong alignment)
    {
        using (_lock.Acquire())
        {
            alignment = _alignment;
            return [.. _limits.Usable];
        }
    }

    private static IEnumerable<AddressRange> Outside(AddressRange aperture)
    {
        if (aperture.Start > 0)
        {
            yield return new(0, aperture.Start - 1);
        }

        if (aperture.Last < ulong.MaxValue)
        {
            yield return new(aperture.Last + 1, ulong.MaxValue);
        }
    }

    private Errno Reserve(List<AddressRange> ranges, object owner, bool mayLeaveNothing = false)
    {
        Unblock();
        foreach (AddressRange range in ranges)
        {
            if (FindOverlap(range, out bool retired) is not null)
            {
                if (!retired)
                {
                    return Errno.AddressInUse;
                }

                Errno error = FlushAll();
                if (error != Errno.Success)
                {
                    return error;
                }
            }

            if (_limits.ConflictsWithAllowed(range))
            {
                return Errno.AddressInUse;
            }
        }

        return _limits.Reserve(ranges, owner, mayLeaveNothing);
    }

    // The owner's own reservation is still there, so that this one never leaves less than nothing.
    private void ReserveUnconfirmed(AddressSpaceDomain domain)
    {
        ReleaseLimits(domain.Direct);
        if (domain.Direct.Unconfirmed.Count > 0)
        {
            _ = _limits.Reserve([.. domain.Direct.Unconfirmed], domain.Direct);
        }
    }

    private Errno SettleDirect(AddressSpaceDomain domain)
    {
        if (domain.Direct.Unconfirmed.Count == 0)
        {
            return Errno.Success;
        }

        Errno error = domain.Direct.Settle();
        ReserveUnconfirmed(domain);
        return error;
    }

    private void ReleaseLimits(object owner)
    {
        _limits.Release(owner);
        Unblock();
    }

    private ulong ComputeAlignment(bool largePages, ulong least)
    {
        ulong alignment = Math.Max(least, largePages ? 1 : PageSize);
        foreach (AddressSpaceDomain domain in _domains)
        {
            alignment = Math.Max(alignment, domain.Granule);
        }

        foreach (IAddressSpaceUser user in _users)
        {
            alignment = Math.Max(alignment, user.Alignment);
        }

        return alignment;
    }

    private bool AreAligned(ulong alignment)
    {
        if (alignment <= _alignment)
        {
            return true;
        }

        bool aligned = true;
        _areas.Visit((_, area) => aligned = area.State != AreaState.Live || area.IsAligned(alignment));
        return aligned;
    }

    private Errno FillAll(PagingDomain domain)
    {
        Errno error = Errno.Success;
        List<Area> pinned = [];
        _areas.Visit((_, area) =>
        {
            if (area.State != AreaState.Live)
            {
                return true;
            }

            if (!area.Pinned)
            {
                error = area.Memory!.Pin();
                if (error != Errno.Success)
                {
                    return false;
                }

                area.Pinned = true;
                pinned.Add(area);
            }

            error = Fill(area, domain);
            return error == Errno.Success;
        });

        if (error != Errno.Success)
        {
            // Nothing is attached to the domain, and the caller throws it away: only the pins have to be undone.
            foreach (Area area in pinned)
            {
                area.Memory!.Unpin();
                area.Pinned = false;
            }
        }

        return error == Errno.OutOfRange ? Errno.InvalidArgument : error;
    }

    private void UnpinAll() =>
        _areas.Visit((_, area) =>
        {
            if (area is { State: AreaState.Live, Pinned: true })
            {
                area.Memory!.Unpin();
                area.Pinned = false;
            }

            return true;
        });

    private Area? FindLive(ulong iova) =>
        _areas.FindOverlap(iova, iova, out _, out _) is { State: AreaState.Live } area ? area : null;
}
