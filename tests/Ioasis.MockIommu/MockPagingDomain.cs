using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <summary>The mock's translations: a dictionary of pages of 2 KiB, half of a page of the processor.</summary>
internal sealed class MockPagingDomain(in PagingDomainOptions options) : PagingDomain
{
    /// <summary>Bytes of a page.</summary>
    public const ulong PageSize = 2048;

    private const int PageSizeLog2 = 11;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Entry> _entries = [];
    private readonly HashSet<ulong> _dirty = [];
    private readonly PagingDomainOptions _options = options;
    private bool _tracks;

    /// <inheritdoc/>
    public override AddressRange Aperture => new(1ul << 24, (1ul << 31) - 1);

    /// <inheritdoc/>
    public override ulong PageSizes => PageSize | (512 * PageSize);

    /// <inheritdoc/>
    public override long TableBytes => 0;

    /// <inheritdoc/>
    public override bool IsNestParent => _options.NestParent;

    /// <inheritdoc/>
    public override bool SupportsDirtyTracking => _options.DirtyTracking;

    /// <inheritdoc/>
    public override Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access)
    {
        if (length == 0 || ((iova.Value | address.Value | length) & (PageSize - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        if (iova.Value < Aperture.Start || iova.Value + (length - 1) > Aperture.Last || length > Aperture.Last)
        {
            return Errno.OutOfRange;
        }

        lock (_lock)
        {
            for (ulong done = 0; done < length; done += PageSize)
            {
                if (_entries.ContainsKey((iova.Value + done) >> PageSizeLog2))
                {
                    return Errno.AddressInUse;
                }
            }

            for (ulong done = 0; done < length; done += PageSize)
            {
                _entries.Add((iova.Value + done) >> PageSizeLog2, new(address + done, access));
            }
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public override Errno MapGranules(Iova iova, PhysicalAddress address, ulong length, Access access) =>
        Map(iova, address, length, access);

    /// <inheritdoc/>
    public override Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped)
    {
        unmapped = 0;
        if (length == 0 || ((iova.Value | length) & (PageSize - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        // Nothing caches, so that nothing has to be invalidated.
        lock (_lock)
        {
            for (ulong done = 0; done < length; done += PageSize)
            {
                ulong page = (iova.Value + done) >> PageSizeLog2;
                unmapped += _entries.Remove(page) ? PageSize : 0;
                _ = _dirty.Remove(page);
            }
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public override Errno Sync(ref InvalidationGather gather) => Errno.Success;

    /// <inheritdoc/>
    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize)
    {
        lock (_lock)
        {
            bool found = _entries.TryGetValue(iova.Value >> PageSizeLog2, out Entry entry);
            address = entry.Address + (iova.Value & (PageSize - 1));
            access = entry.Access;
            leafSize = PageSize;
            return found;
        }
    }

    /// <inheritdoc/>
    public override Errno SetDirtyTracking(bool enable)
    {
        if (!SupportsDirtyTracking)
        {
            return Errno.NotSupported;
        }

        lock (_lock)
        {
            if (_tracks != enable)
            {
                _tracks = enable;
                _dirty.Clear();
            }
        }

        return Errno.Success;
    }

    /// <summary>A device has written a range.</summary>
    /// <returns>Whether that is recorded: a part is mapped, and tracking is on.</returns>
    public bool Write(ulong iova, ulong length)
    {
        lock (_lock)
        {
            bool recorded = false;
            for (ulong page = iova >> PageSizeLog2; _tracks && page <= (iova + length - 1) >> PageSizeLog2; page++)
            {
                recorded |= _entries.ContainsKey(page) && Mark(page);
            }

            return recorded;
        }
    }

    private bool Mark(ulong page)
    {
        _ = _dirty.Add(page);
        return true;
    }

    /// <summary>Whether dirty tracking is on.</summary>
    public bool Tracks => Volatile.Read(ref _tracks);

    /// <inheritdoc/>
    public override Errno ReadDirty(Iova iova, ulong length, bool clear, in DirtyBitmap bitmap)
    {
        if (!SupportsDirtyTracking)
        {
            return Errno.NotSupported;
        }

        lock (_lock)
        {
            if (!_tracks || length == 0)
            {
                return Errno.InvalidArgument;
            }

            ulong last = (iova.Value + (length - 1)) >> PageSizeLog2;
            foreach (ulong page in _dirty.Where(page => page >= iova.Value >> PageSizeLog2 && page <= last).ToArray())
            {
                bitmap.Set(new(page << PageSizeLog2, ((page + 1) << PageSizeLog2) - 1));
                _ = clear && _dirty.Remove(page);
            }
        }

        return Errno.Success;
    }

    private readonly record struct Entry(PhysicalAddress Address, Access Access);
}
