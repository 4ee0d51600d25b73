using System.Numerics;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The guest-physical pages at which a guest's devices expect interrupt files: every page whose number equals
/// <paramref name="Pattern"/> in the bits that <paramref name="Mask"/> does not have.
/// </summary>
/// <param name="Pattern">A page number (address / 4096). The bits under the mask do not matter.</param>
/// <param name="Mask">The bits of the page number that tell interrupt files from each other.</param>
internal readonly record struct InterruptFileAddresses(ulong Pattern, ulong Mask)
{
    /// <summary>How many interrupt files there can be.</summary>
    public ulong Count => 1ul << BitOperations.PopCount(Mask);

    /// <summary>Whether an address lies in the page of an interrupt file.</summary>
    public bool Contains(Iova address) => (((address.Value >> 12) ^ Pattern) & ~Mask) == 0;

    /// <summary>The number of the interrupt file of an address: the bits of its page number under the mask, put together.</summary>
    public ulong IndexOf(Iova address)
    {
        ulong page = address.Value >> 12;
        ulong index = 0;
        int at = 0;
        for (ulong mask = Mask; mask != 0; mask &= mask - 1, at++)
        {
            index |= ((page >> BitOperations.TrailingZeroCount(mask)) & 1) << at;
        }

        return index;
    }
}
