using System.Numerics;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>What a device that caches translations is told (section 3.1.4; PCIe ATS, "Invalidate Request").</summary>
internal static class AtsInvalidation
{
    /// <summary>The payload for everything that a device has.</summary>
    public const ulong Everything = (((1ul << 51) - 1) << 12) | AtsInvalidatePayload.RangeBit;

    /// <summary>The payload for the smallest naturally aligned power of two that holds a range.</summary>
    public static ulong PayloadFor(AddressRange range)
    {
        ulong differing = (range.Start ^ range.Last) >> 12;
        if (differing == 0)
        {
            return range.Start & AtsInvalidatePayload.AddressMask;
        }

        // As with the S operand: a 0 at bit X of the page number, ones below, for 2^(X+1) pages.
        int x = BitOperations.Log2(differing);
        ulong page = ((range.Start >> 12) & ~((2ul << x) - 1)) | ((1ul << x) - 1);
        return (page << 12) | AtsInvalidatePayload.RangeBit;
    }

    /// <summary>The command for a device, or for a PASID of it.</summary>
    public static Command For(uint deviceId, Pasid pasid, ulong payload) =>
        Command.AtsInvalidate(deviceId & 0xffff, deviceId >> 16, pasid.IsPresent ? pasid.Value : null, payload);
}
