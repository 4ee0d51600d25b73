using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>How the domain of drivers' DMA (<see cref="DmaDevice"/>) works.</summary>
public sealed record DmaDomainOptions
{
    /// <summary>When unmaps invalidate.</summary>
    public DmaMode Mode { get; init; } = DmaMode.Lazy;

    /// <summary>Unmaps that wait for one processor before it flushes; 1 or more.</summary>
    public int QueueCapacity { get; init; } = 256;

    /// <summary>The longest that an unmap waits for its invalidation.</summary>
    public TimeSpan TimeLimit { get; init; } = TimeSpan.FromMilliseconds(10);

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>
    /// Whether the domain flushes at the time limit by a timer of its own; otherwise its owner polls it: a platform does in <c>EmbeddedPlatform.Poll</c>.
    /// </summary>
    public bool UseTimer { get; init; } = true;

    /// <summary>Rings of the flush queue, 1 or more; null for one a processor.</summary>
    public int? Slots { get; init; }

    /// <summary>Caching of IOVAs.</summary>
    internal IovaAllocatorOptions Iova { get; init; } = new();

    /// <summary>
    /// More that is never given out: the windows of a PCI host bridge, say, where a request might be answered by a neighbour
    /// before it comes to the IOMMU.
    /// </summary>
    public IReadOnlyList<AddressRange> Excluded { get; init; } = [];

    /// <summary>Which ring the calling thread uses; null for its processor's.</summary>
    internal Func<int>? SlotChooser { get; init; }
}

/// <summary>
/// The default domain of a group whose drivers map buffers without choosing addresses: a paging domain, the IOVAs that are
/// free in it, and the invalidations that it owes. Drivers see it through <see cref="DmaDevice"/> only. Thread-safe.
/// </summary>
internal sealed class DmaDomain : IDisposable
{
    // Flushes for one allocation: others get on each time that it is in vain.
    private const int MaxAttempts = 100;

    private readonly DmaFlushQueue _queue;
    private readonly IoLock _regionLock = new();
    private bool _disposed;

    private DmaDomain(PagingDomain paging, DmaDomainOptions options)
    {
        Paging = paging;
        Mode = options.Mode;
        GranuleLog2 = System.Numerics.BitOperations.TrailingZeroCount(paging.PageSizes);
        Iovas = new(paging.Aperture, GranuleLog2, options.Iova);
        _queue = new(paging, Iovas, options);
    }

    /// <summary>The domain that devices are attached to.</summary>
    public PagingDomain Paging { get; }

    /// <summary>When unmaps invalidate.</summary>
    public DmaMode Mode { get; }

    /// <summary>IOVA ranges that were unmapped and wait for a flush.</summary>
    public int PendingCount => _queue.PendingCount;

    /// <summary>What the flush queue did.</summary>
    public LazyFlushStatistics FlushStatistics => _queue.Statistics;

    /// <summary>What the allocator did.</summary>
    public IovaAllocatorStatistics IovaStatistics => Iovas.Statistics;

    internal IovaAllocator Iovas { get; }

    internal int GranuleLog2 { get; }

    /// <summary>Makes a domain that suits a device. Attach it with <see cref="IommuGroup.SetDefaultDomain(DmaDomain)"/>.</summary>
    /// <returns>Success; or the error of the driver, or of a range that cannot be excluded.</returns>
    public static Errno TryCreate(IommuDevice device, DmaDomainOptions options, out DmaDomain? domain)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.QueueCapacity, nameof(options));
        domain = null;
        Errno error = device.Iommu.TryAllocatePagingDomain(device, default, out PagingDomain? paging);
        if (error != Errno.Success)
        {
            return error;
        }

        domain = new(paging!, options);
        foreach (AddressRange range in options.Excluded)
        {
            _ = domain.Iovas.Reserve(range);
        }

        return Errno.Success;
    }

    /// <summary>Invalidates everything that waits: afterwards no device reaches anything that was unmapped before.</summary>
    /// <returns>Success, or <see cref="Errno.IoError"/> if an IOMMU did not complete it: then it still waits.</returns>
    public Errno Flush() => _queue.FlushAll(LazyFlushReason.Explicit);

    /// <summary>Flushes if something has waited for the time limit; for domains without a timer.</summary>
    public Errno Poll() => _queue.Poll();

    /// <summary>Flushes and releases the tables. Nothing may be attached any more.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _ = Flush();
            _queue.Dispose();
            Paging.Dispose();
        }
    }

    /// <summary>
    /// Makes the domain fit for a device that is about to be attached: its direct regions are mapped one to one, relaxable
    /// ones included, and none of its reserved regions is given out. All or nothing.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if a region is in use as an IOVA, or a direct one lies outside the
    /// aperture; or the error of the map.
    /// </returns>
    internal Errno Prepare(IommuDevice device)
    {
        List<AddressRange> reserved = [];
        using (_regionLock.Acquire())
        {
            Errno error = Errno.Success;
            foreach (ReservedRegion region in device.GetReservedRegions())
            {
                if (error == Errno.Success && Iovas.TryReserve(region.Range, reserved) != Errno.Success)
                {
                    error = Errno.InvalidArgument;
                }
            }

            bool isUndone = true;
            error = error == Errno.Success ? DirectRegions.Map(Paging, device, withRelaxable: true, out isUndone) : error;
            if (error != Errno.Success && isUndone)
            {
                Iovas.Unreserve(reserved);
            }

            return error;
        }
    }

    /// <summary>
    /// Gives out IOVAs; flushes if only those that wait could serve. It fails only if nothing was free while nothing waited, or if
    /// other threads take what it flushes again and again.
    /// </summary>
    internal Errno TryAllocate(ulong length, ulong limit, out Iova iova)
    {
        Errno error = Iovas.TryAllocate(length, new(limit), out iova);
        return error == Errno.NoSpace ? TryAllocateWhatWaits(length, limit, out iova) : error;
    }

    private Errno TryAllocateWhatWaits(ulong length, ulong limit, out Iova iova)
    {
        iova = default;
        for (int attempt = 1; ; attempt++)
        {
            if (_queue.FlushAll(LazyFlushReason.Overlap) != Errno.Success)
            {
                return Errno.NoSpace;
            }

            long deferred = _queue.DeferredCount;
            bool waits = _queue.PendingCount != 0;
            Errno error = Iovas.TryAllocate(length, new(limit), out iova);

            // What waited meanwhile, and does no more, came back too late.
            bool waited = waits || _queue.DeferredCount != deferred;
            if (error != Errno.NoSpace || !waited || attempt == MaxAttempts)
            {
                return error;
            }
        }
    }

    /// <summary>Ends what was unmapped: invalidates now or later, and gives the IOVAs back after that.</summary>
    internal Errno Retire(Iova iova, ulong length, ref InvalidationGather gather, bool strict)
    {
        if (!strict)
        {
            return _queue.Defer(iova, length, ref gather);
        }

        Errno error = Paging.Sync(ref gather);
        if (error == Errno.Success)
        {
            return Iovas.Free(iova, length);
        }

        // Nobody may use them before an IOMMU has confirmed it.
        _ = _queue.Defer(iova, length, ref gather);
        return error;
    }
}
