using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Options of an address space, and what it still owes.</content>
internal sealed partial class AddressSpace
{
    private int PendingCount
    {
        get
        {
            int count = 0;
            foreach (AddressSpaceDomain domain in _domains)
            {
                count += domain.PendingCount;
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

    /// <summary>Whether devices may still reach what is not mapped any more.</summary>
    public bool Owes
    {
        get
        {
            using (_lock.Acquire())
            {
                return _domains.Exists(static domain => domain.PendingCount > 0 || domain.Direct.Unconfirmed.Count > 0);
            }
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

            if (!allowed && _domains.Count > 0 && _areas.Count > _blockedCount)
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

    private Errno FlushAll()
    {
        Errno result = Errno.Success;
        foreach (AddressSpaceDomain domain in _domains)
        {
            Errno error = Settle(domain);
            result = result == Errno.Success ? error : result;
        }

        return result;
    }

    private void PollLazy()
    {
        foreach (AddressSpaceDomain domain in _domains)
        {
            if (domain.Stuck.Count > 0 || domain.Direct.Unconfirmed.Count > 0)
            {
                _ = Settle(domain);
            }
            else if (domain.Lazy.PendingCount > 0)
            {
                _ = domain.Lazy.Poll();
            }
        }
    }

    // Everything that a domain owes: ranges that are still in its tables, those that wait for their invalidation, and one-to-one
    // mappings that nobody needs any more.
    private Errno Settle(AddressSpaceDomain domain)
    {
        Errno stuck = domain.TakeOutStuck(this);
        Errno flushed = domain.Lazy.Flush();
        Errno direct = SettleDirect(domain);
        return stuck != Errno.Success ? stuck : flushed != Errno.Success ? flushed : direct;
    }
}
