using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Which pages devices wrote, told while nothing is mapped or unmapped.</content>
internal sealed partial class AddressSpace
{
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
}
