using System.Numerics;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Where a mapping may be, and where it goes if the client does not care.</content>
internal sealed partial class AddressSpace
{
    private Errno Place(ref ulong iova, bool isFixed, ulong userAddress, ulong length)
    {
        PollLazy();
        if ((length & (_alignment - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        Errno error = isFixed ? CheckIova(iova, length) : ChooseIova(userAddress, length, out iova);
        return error == Errno.Success && (userAddress & (PageSize - 1) & (_alignment - 1)) != 0
            ? Errno.InvalidArgument
            : error;
    }

    private Errno CheckIova(ulong iova, ulong length)
    {
        if ((iova & (_alignment - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        if (!AddressRange.TryFromLength(iova, length, out AddressRange range))
        {
            return Errno.Overflow;
        }

        if (!_limits.Usable.Contains(range))
        {
            return Errno.InvalidArgument;
        }

        for (bool flushed = false; ; flushed = true)
        {
            if (FindOverlap(range, out bool retired) is null)
            {
                return Errno.Success;
            }

            if (!retired)
            {
                return Errno.Exists;
            }

            // Only areas whose invalidation is pending are in the way.
            Errno error = flushed ? Errno.IoError : FlushAll();
            if (error != Errno.Success)
            {
                return error;
            }
        }
    }

    // The first live area in a range, or else the first retired one.
    private Area? FindOverlap(AddressRange range, out bool retired)
    {
        Area? first = null;
        ulong cursor = range.Start;
        while (_areas.FindOverlap(cursor, range.Last, out _, out ulong last) is { } area)
        {
            if (area.State == AreaState.Live)
            {
                retired = false;
                return area;
            }

            first ??= area.State == AreaState.Retired ? area : null;
            if (last >= range.Last)
            {
                break;
            }

            cursor = last + 1;
        }

        retired = first is not null;
        return first;
    }

    private Errno ChooseIova(ulong userAddress, ulong length, out ulong iova)
    {
        iova = 0;
        if (length >= ulong.MaxValue / 2)
        {
            return Errno.Overflow;
        }

        // The alignment that the memory has is kept, so that large leaves are possible: to 2 MiB it is a promise, as Linux's,
        // and to 1 GiB a wish.
        ulong alignment = BitOperations.RoundUpToPowerOf2(length);
        if (userAddress != 0)
        {
            alignment = Math.Min(alignment, userAddress & (0 - userAddress));
        }

        alignment = Math.Min(alignment, MaxAutomaticAlignment);
        if (alignment < _alignment)
        {
            return Errno.InvalidArgument;
        }

        alignment = Math.Max(alignment, PageSize);
        ulong offset = userAddress & (PageSize - 1);
        if (TryChooseIova(length, alignment, offset, out iova))
        {
            return Errno.Success;
        }

        return PendingCount > 0 && FlushAll() == Errno.Success && TryChooseIova(length, alignment, offset, out iova)
            ? Errno.Success
            : Errno.NoSpace;
    }

    private bool TryChooseIova(ulong length, ulong alignment, ulong offset, out ulong iova)
    {
        // Neither the first page nor the last is ever chosen: 0 and -1 stand for "none" in too many programs.
        BlockForbidden();
        return _areas.TryFindHole(
            PageSize, ulong.MaxValue - PageSize, length, alignment, Math.Min(alignment, PromisedAlignment), offset, out iova);
    }
}
