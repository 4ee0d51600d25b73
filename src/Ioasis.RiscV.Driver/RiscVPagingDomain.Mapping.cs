using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <content>Maps, unmaps and invalidations.</content>
public sealed partial class RiscVPagingDomain
{
    /// <inheritdoc/>
    public override AddressRange Aperture => _table.Aperture;

    /// <inheritdoc/>
    public override ulong PageSizes => _table.PageSizes;

    /// <inheritdoc/>
    public override long TableBytes => _table.TableBytes;

    /// <inheritdoc/>
    /// <remarks>
    /// Entries that were invalid are not cached (section 6.3.8, S4.6), so that there is nothing to invalidate, unless a large
    /// leaf took the place of an empty table.
    /// </remarks>
    public override Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access)
    {
        if (Volatile.Read(ref _owes) && Settle() is not Errno.Success and var unsettled)
        {
            return unsettled;
        }

        InvalidationGather gather = default;
        Errno error = _table.Map(iova, address, length, access, ref gather);
        return gather.IsEmpty ? error : FinishMap(iova, length, error, ref gather);
    }

    /// <inheritdoc/>
    /// <remarks>No table gives way to a leaf, so that there is never anything to invalidate.</remarks>
    public override Errno MapGranules(Iova iova, PhysicalAddress address, ulong length, Access access)
    {
        if (Volatile.Read(ref _owes) && Settle() is not Errno.Success and var unsettled)
        {
            return unsettled;
        }

        InvalidationGather gather = default;
        return _table.Map(iova, address, length, access, ref gather, granulesOnly: true);
    }

    /// <inheritdoc/>
    public override Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped) =>
        _table.Unmap(iova, length, ref gather, out unmapped);

    /// <inheritdoc/>
    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize) =>
        _table.TryTranslate(iova, out address, out access, out leafSize);

    /// <inheritdoc/>
    public override Errno Sync(ref InvalidationGather gather)
    {
        if (gather.IsEmpty)
        {
            return Errno.Success;
        }

        Errno error = Bonds.Invalidate(gather);
        if (error != Errno.Success)
        {
            return error;
        }

        // Hardware is done with the tables; threads of the driver may not be.
        if (_walkers is not null && gather.NonLeaf)
        {
            _walkers.Synchronize();
        }

        _table.Release(ref gather);
        return Errno.Success;
    }

    // Nobody may walk a table that a leaf replaced when the map returns. If the IOMMU does not confirm it, the map is undone, and
    // what it must forget is owed: it may go on to walk the old table, and would not see what is mapped there next.
    private Errno FinishMap(Iova iova, ulong length, Errno error, ref InvalidationGather gather)
    {
        Errno synced = Sync(ref gather);
        if (synced == Errno.Success)
        {
            return error;
        }

        if (error == Errno.Success)
        {
            _ = _table.Unmap(iova, length, ref gather, out _);
        }

        using (_lock.Acquire())
        {
            gather.MoveTo(ref _owed);
            Volatile.Write(ref _owes, true);
        }

        return error == Errno.Success ? synced : error;
    }

    // Before anything is mapped, the IOMMU forgets what it did not confirm to have forgotten.
    private Errno Settle()
    {
        using (_lock.Acquire())
        {
            Errno error = Sync(ref _owed);
            if (error == Errno.Success)
            {
                Volatile.Write(ref _owes, false);
            }

            return error;
        }
    }
}
