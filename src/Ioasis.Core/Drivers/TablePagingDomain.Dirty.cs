using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>
/// Dirty tracking (S4.17). Hardware that can do so always sets A and D; tracking begins and ends without a change of what is live.
/// What a leaf covers is dirty as a whole: leaves are not split for tracking.
/// </content>
internal abstract partial class TablePagingDomain
{
    private readonly IoLock _dirtyLock = new();

    // Made clean, but hardware may not know: it may go on writing there without setting D. Reported as dirty until confirmed.
    private readonly IntervalSet _unconfirmed = new();
    private bool _tracks;

    /// <inheritdoc/>
    public override Errno SetDirtyTracking(bool enable)
    {
        if (!SupportsDirtyTracking)
        {
            return Errno.NotSupported;
        }

        using (_dirtyLock.Acquire())
        {
            if (enable && !_tracks)
            {
                // Everything is clean when it begins. Other threads may map and unmap meanwhile: what they take out of the table
                // stays until this walk is over.
                InvalidationGather gather = default;
                using (_walkers!.Enter())
                {
                    _ = Table.ReadDirty(Aperture, new DirtyBitmap([], default, 12), clear: true, ref gather);
                }

                Errno error = Confirm(ref gather);
                if (error != Errno.Success)
                {
                    return error;
                }

                _unconfirmed.Clear();
            }

            _tracks = enable;
            return Errno.Success;
        }
    }

    /// <inheritdoc/>
    public override Errno ReadDirty(Iova iova, ulong length, bool clear, in DirtyBitmap bitmap)
    {
        if (!SupportsDirtyTracking)
        {
            return Errno.NotSupported;
        }

        if (!AddressRange.TryFromLength(iova.Value, length, out AddressRange range))
        {
            return Errno.InvalidArgument;
        }

        using (_dirtyLock.Acquire())
        {
            if (!_tracks)
            {
                return Errno.InvalidArgument;
            }

            InvalidationGather gather = default;
            Errno error = Table.ReadDirty(range, bitmap, clear, ref gather);
            if (error is Errno.NotSupported or Errno.OutOfRange)
            {
                return error;
            }

            foreach (AddressRange stale in _unconfirmed)
            {
                if (stale.TryIntersect(range, out AddressRange common))
                {
                    bitmap.Set(common);
                }
            }

            if (!clear)
            {
                return error;
            }

            Errno confirmed = Confirm(ref gather);
            if (confirmed == Errno.Success)
            {
                _unconfirmed.Remove(range);
            }

            return error == Errno.Success ? confirmed : error;
        }
    }

    // What was made clean is forgotten by the hardware, with what an earlier call could not make it forget.
    private Errno Confirm(ref InvalidationGather gather)
    {
        foreach (AddressRange stale in _unconfirmed)
        {
            gather.AddLeaves(stale.Start, stale.Last, 12);
        }

        if (gather.IsEmpty)
        {
            return Errno.Success;
        }

        Errno error = Invalidate(gather);
        if (error != Errno.Success)
        {
            _unconfirmed.Add(gather.Range);
        }

        gather.Clear();
        return error;
    }
}
