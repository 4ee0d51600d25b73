using System.Numerics;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>The body of an Invalidate Request to a device that caches translations (PCIe, chapter 10, "Invalidate Request").</summary>
internal static class PcieInvalidation
{
    /// <summary>S, bit 11: the range is more than a page; its size is in the address.</summary>
    public const ulong RangeBit = 1ul << 11;

    /// <summary>Global Invalidate, bit 0: whatever the PASID.</summary>
    public const ulong GlobalBit = 1ul << 0;

    /// <summary>The body for everything that a device has.</summary>
    public const ulong Everything = (((1ul << 51) - 1) << 12) | RangeBit;

    /// <summary>The body for the smallest naturally aligned power of two that holds a range.</summary>
    public static ulong PayloadFor(AddressRange range)
    {
        ulong differing = (range.Start ^ range.Last) >> 12;
        if (differing == 0)
        {
            return range.Start & ~0xffful;
        }

        // A 0 at bit X of the page number, ones below, for 2^(X+1) pages.
        int x = BitOperations.Log2(differing);
        ulong page = ((range.Start >> 12) & ~((2ul << x) - 1)) | ((1ul << x) - 1);
        return (page << 12) | RangeBit;
    }
}
