using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Domains, ranges and options of an address space.</content>
internal sealed partial class AddressSpace
{
    private int PendingCount
    {
        get
        {
            int count = 0;
            foreach (AddressSpaceDomain domain in _domains)
            {
                count += domain.Lazy.PendingCount;
            }

            return count;
        }
    }

    /// <summary>Whether unmaps return before their invalidation.</summary>
    public bool Lazy
    {
        get => _lazy;
        set
        {
            using (_lock.Acquire())
            {
                _lazy = value;
            }
        }
    }

    /// <summary>Whether several pages may share a leaf.</summary>
    public bool LargePages => _largePages;

    /// <summary>What IOVAs, lengths and memory must be multiples of.</summary>
    public ulong Alignment => _alignment;

    /// <summary>Unmaps whose invalidation is pending, counted once for each domain.</summary>
    public int CountPending()
    {
        using (_lock.Acquire())
        {
            return PendingCount;
        }
    }

    /// <summary>Completes every pending invalidation.</summary>
    public Errno Flush()
    {
        using (_lock.Acquire())
        {
            return FlushAll();
        }
    }

    /// <summary>Completes invalidations that have waited long enough.</summary>
    public void Poll()
    {
        using (_lock.Acquire())
        {
            PollLazy();
        }
    }

    /// <summary>Allows or forbids leaves of several pages. Forbidding is refused once something may be in a domain.</summary>
    public Errno SetLargePages(bool allowed)
    {
        using (_lock.Acquire())
        {
            if (allowed == _largePages)
            {
                return Errno.Success;
            }

            if (!allowed && _domains.Count > 0 && _areas.Count > 0)
            {
                return Errno.InvalidArgument;
            }

            ulong alignment = ComputeAlignment(allowed, 1);
            if (!AreAligned(alignment))
            {
                return Errno.AddressInUse;
            }

            _largePages = allowed;
            _alignment = alignment;
            return Errno.Success;
        }
    }

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
                _limits.Release(candidate);
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
    public void RemoveDomain(AddressSpaceDomain domain)
    {
        using (_lock.Acquire())
        {
            _ = domain.Lazy.Flush();
            if (!_domains.Remove(domain))
            {
                return;
            }

            _limits.Release(domain);
            _alignment = ComputeAlignment(_largePages, 1);
            if (_domains.Count == 0)
            {
                UnpinAll();
            }
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

    /// <summary>Gives back what <see cref="ReserveRegions"/> took for an owner.</summary>
    public void ReleaseRegions(object owner)
    {
        using (_lock.Acquire())
        {
            _limits.Release(owner);
        }
    }

    /// <summary>Replaces the list of IOVAs that shall stay usable.</summary>
    public Errno Allow(IntervalSet allowed)
    {
        using (_lock.Acquire())
        {
            return _limits.Allow(allowed);
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

    /// <summary>Whether something is mapped in a range.</summary>
    public bool IsMapped(AddressRange range)
    {
        using (_lock.Acquire())
        {
            return FindOverlap(range, out bool retired) is not null && !retired;
        }
    }

    /// <summary>
    /// Unmaps by VFIO's rules. Version 2: neither end of the range may lie within a mapping. Version 1: a mapping that begins
    /// before the range ends the call, one that reaches beyond it goes whole.
    /// </summary>
    /// <returns>Success, also if nothing was mapped; <see cref="Errno.InvalidArgument"/>; <see cref="Errno.IoError"/>.</returns>
    public Errno UnmapByVfioRules(AddressRange range, bool isVersion2, out ulong unmapped, out int mappings)
    {
        unmapped = 0;
        mappings = 0;
        using (_lock.Acquire())
        {
            int before = _liveCount;
            Area? first = FindLive(range.Start);
            Area? last = FindLive(range.Last);
            if (isVersion2)
            {
                if ((first is not null && first.Start != range.Start) || (last is not null && last.Last != range.Last))
                {
                    return Errno.InvalidArgument;
                }
            }
            else if (first is not null && first.Start < range.Start)
            {
                return Errno.Success;
            }
            else if (last is not null)
            {
                range = new(range.Start, last.Last);
            }

            Errno error = UnmapRange(range.Start, range.Last, lazy: false, out unmapped);
            mappings = before - _liveCount;
            return error == Errno.NoEntry ? Errno.Success : error;
        }
    }

    /// <summary>Whether every IOVA of a range is mapped.</summary>
    public bool IsContiguous(AddressRange range)
    {
        using (_lock.Acquire())
        {
            return IsContiguousLocked(range);
        }
    }

    /// <summary>Starts or stops dirty tracking of a domain of this address space, while nothing is mapped or unmapped.</summary>
    public Errno SetDirtyTracking(PagingDomain domain, bool enable)
    {
        using (_lock.Acquire())
        {
            return domain.SetDirtyTracking(enable);
        }
    }

    /// <summary>Tells which pages of a range, all of which is mapped, devices wrote.</summary>
    /// <param name="domain">A domain of this address space.</param>
    /// <param name="range">The range.</param>
    /// <param name="clear">Whether they become clean.</param>
    /// <param name="words">Gets a bit for each page; bit 0 is the first of the range.</param>
    /// <param name="pageSizeLog2">log2 of the bytes that a bit stands for.</param>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> over a hole; the domain's errors.</returns>
    public Errno ReadDirty(PagingDomain domain, AddressRange range, bool clear, Span<ulong> words, int pageSizeLog2)
    {
        using (_lock.Acquire())
        {
            // Areas may have gone since the caller looked.
            return IsContiguousLocked(range)
                ? domain.ReadDirtyWords(new(range.Start), range.Length, clear, words, new(range.Start), pageSizeLog2)
                : Errno.InvalidArgument;
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

    private bool IsContiguousLocked(AddressRange range)
    {
        for (ulong cursor = range.Start; ;)
        {
            Area? area = FindLive(cursor);
            if (area is null || area.Last >= range.Last)
            {
                return area is not null;
            }

            cursor = area.Last + 1;
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

    private Errno Reserve(List<AddressRange> ranges, object owner)
    {
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

        return _limits.Reserve(ranges, owner);
    }

    private ulong ComputeAlignment(bool largePages, ulong least)
    {
        ulong alignment = Math.Max(least, largePages ? 1 : PageSize);
        foreach (AddressSpaceDomain domain in _domains)
        {
            alignment = Math.Max(alignment, domain.Granule);
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

    private Errno FlushAll()
    {
        Errno result = Errno.Success;
        foreach (AddressSpaceDomain domain in _domains)
        {
            Errno error = domain.Lazy.Flush();
            result = result == Errno.Success ? error : result;
        }

        return result;
    }

    private void PollLazy()
    {
        foreach (AddressSpaceDomain domain in _domains)
        {
            if (domain.Lazy.PendingCount > 0)
            {
                _ = domain.Lazy.Poll();
            }
        }
    }
}
