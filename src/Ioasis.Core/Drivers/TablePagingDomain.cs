using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// For a driver: a paging domain over an <see cref="IoPageTable"/>. It knows the order in which tables, caches and memory are dealt
/// with, and nothing of how an IOMMU is told: that is <see cref="Invalidate"/>, the driver's. The root is there from the beginning
/// (S4.10), and so is everything else that maps, attaches and invalidations need (S4.11).
/// </summary>
internal abstract partial class TablePagingDomain : PagingDomain
{
    private readonly IPageAllocator _pages;
    private readonly IoLock _lock = new();

    // Threads that walk tables which others may take out of the table (S4.14); null until there is one.
    private EpochReclaimer? _walkers;

    // What an IOMMU did not confirm to have forgotten when a map was undone; under the lock.
    private InvalidationGather _owed;
    private bool _owes;
    private bool _disposed;

    /// <summary>Takes a table over.</summary>
    /// <param name="table">The table; goes with the domain.</param>
    /// <param name="pages">Where its pages come from.</param>
    /// <param name="tracksDirty">Whether it was made with <see cref="PageTableOptions.HardwareDirty"/>.</param>
    protected TablePagingDomain(IoPageTable table, IPageAllocator pages, bool tracksDirty)
    {
        Table = table;
        _pages = pages;
        SupportsDirtyTracking = tracksDirty;
        if (tracksDirty)
        {
            _ = MakeWalkers();
        }
    }

    /// <inheritdoc/>
    public override bool SupportsDirtyTracking { get; }

    /// <inheritdoc/>
    public override PageTableFormat Format => Table.Format;

    /// <inheritdoc/>
    public override AddressRange Aperture => Table.Aperture;

    /// <inheritdoc/>
    public override ulong PageSizes => Table.PageSizes;

    /// <inheritdoc/>
    public override long TableBytes => Table.TableBytes;

    /// <summary>The table.</summary>
    protected IoPageTable Table { get; }

    /// <summary>Whether hardware may still walk the table.</summary>
    protected abstract bool IsInUse { get; }

    /// <summary>
    /// Whether some IOMMU may hold that an address is not mapped, so that it has to be told of maps too. Read after the table was written.
    /// </summary>
    protected virtual bool CachesAbsence => false;

    /// <inheritdoc/>
    /// <remarks>
    /// Entries that were not present are not cached (S4.6), so that there is nothing to invalidate, unless a large leaf took the place
    /// of an empty table, or an IOMMU says that it caches them all the same (<see cref="CachesAbsence"/>).
    /// </remarks>
    public override Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access) =>
        Map(iova, address, length, access, granulesOnly: false);

    /// <inheritdoc/>
    public override Errno MapGranules(Iova iova, PhysicalAddress address, ulong length, Access access) =>
        Map(iova, address, length, access, granulesOnly: true);

    /// <inheritdoc/>
    public override Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped)
    {
        Errno error = Table.Unmap(iova, length, ref gather, out unmapped);
        if (Volatile.Read(ref _owes))
        {
            AddOwed(iova, length, ref gather);
        }

        if (unmapped != 0)
        {
            IoasisTelemetry.CountUnmap(unmapped);
        }

        return error;
    }

    /// <inheritdoc/>
    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize) =>
        Table.TryTranslate(iova, out address, out access, out leafSize);

    /// <inheritdoc/>
    public override void AddMappingsTo(ICollection<PageMapping> mappings)
    {
        ArgumentNullException.ThrowIfNull(mappings);
        using (MakeWalkers().Enter())
        {
            ulong last = Aperture.Last;
            for (Iova from = new(Aperture.Start); Table.TryFindNext(from, out PageMapping mapping); from = new(mapping.Range.Last + 1))
            {
                mappings.Add(mapping);
                if (mapping.Range.Last >= last)
                {
                    return;
                }
            }
        }
    }

    /// <inheritdoc/>
    public override Errno Sync(ref InvalidationGather gather)
    {
        if (gather.IsEmpty)
        {
            return Errno.Success;
        }

        Errno error = Invalidate(gather);
        if (error != Errno.Success)
        {
            return error;
        }

        // Hardware is done with the tables; threads may not be. One that comes later does not find them.
        if (gather.NonLeaf)
        {
            Volatile.Read(ref _walkers)?.Synchronize();
        }

        Table.Release(ref gather);
        return Errno.Success;
    }

    /// <summary>
    /// Invalidates what a gather names wherever it may be cached, and waits for it. The table entries were cleared before.
    /// </summary>
    /// <returns>Success, or <see cref="Errno.IoError"/> if an IOMMU could not be made to complete it.</returns>
    protected abstract Errno Invalidate(in InvalidationGather gather);

    /// <summary>Gives back what hardware walks; called once, when none may any more.</summary>
    protected virtual void FreeTables() => Table.Dispose();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        using (_lock.Acquire())
        {
            // While hardware may still walk the table, losing the pages is the lesser evil.
            if (disposing && !_disposed && !IsInUse)
            {
                _disposed = true;
                FreeTables();
                foreach ((PhysicalAddress table, int sizeLog2) in _owed.FreedTables)
                {
                    _pages.Free(table, sizeLog2);
                }

                _owed.Clear();
            }
        }

        base.Dispose(disposing);
    }

    // A fence: who took tables out of the table before sees that there are walkers, or they see that the tables are out.
    private EpochReclaimer MakeWalkers() =>
        Volatile.Read(ref _walkers) ?? Interlocked.CompareExchange(ref _walkers, new(static () => RegisterAccess.Pause(0)), null) ?? _walkers!;

    private Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access, bool granulesOnly)
    {
        if (Volatile.Read(ref _owes) && Settle() is not Errno.Success and var unsettled)
        {
            return unsettled;
        }

        InvalidationGather gather = default;
        Errno error = Table.Map(iova, address, length, access, ref gather, granulesOnly: granulesOnly);
        if (error == Errno.Success && CachesAbsence)
        {
            gather.AddLeaves(iova.Value, iova.Value + (length - 1), 12);
        }

        error = gather.IsEmpty ? error : FinishMap(iova, length, error, ref gather);
        if (error == Errno.Success)
        {
            IoasisTelemetry.CountMap(length);
        }

        return error;
    }

    // Nobody may walk a table that a leaf replaced when the map returns. If the IOMMU does not confirm it, the map is undone, and
    // what it must forget is owed: it may go on to walk the old table, and would not see what is mapped there next.
    private Errno FinishMap(Iova iova, ulong length, Errno error, ref InvalidationGather gather)
    {
        if (Sync(ref gather) == Errno.Success)
        {
            return error;
        }

        if (error == Errno.Success)
        {
            _ = Table.Unmap(iova, length, ref gather, out _);
        }

        using (_lock.Acquire())
        {
            gather.MoveTo(ref _owed);
            Volatile.Write(ref _owes, true);
        }

        return error == Errno.Success ? Errno.IoError : error;
    }

    // What a map left that was undone, and that no IOMMU confirmed to be out of a device's reach, is not in the table any more. It may be
    // cached: who takes it out must wait like for everything else before its memory is given to others.
    private void AddOwed(Iova iova, ulong length, ref InvalidationGather gather)
    {
        using (_lock.Acquire())
        {
            if (!_owed.IsEmpty && AddressRange.TryFromLength(iova.Value, length, out AddressRange range)
                && _owed.Range.TryIntersect(range, out AddressRange common))
            {
                gather.AddLeaves(common.Start, common.Last, System.Numerics.BitOperations.TrailingZeroCount(PageSizes));
            }
        }
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
