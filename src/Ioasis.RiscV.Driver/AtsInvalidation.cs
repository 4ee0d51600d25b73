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

    /// <summary>
    /// The commands for a bond: one, or two where a guest may have given the device PASIDs of its own; those are reached all at
    /// once (the global bit of a request with PASID).
    /// </summary>
    /// <param name="bond">The bond.</param>
    /// <param name="payload">What to forget.</param>
    /// <param name="commands">Room for two.</param>
    /// <returns>How many there are.</returns>
    public static int Build(AtsBond bond, ulong payload, Span<Command> commands)
    {
        commands[0] = For(bond.Device.Id, bond.Pasid, payload);
        if (!bond.IsGuest || bond.Device.Device.PasidBits == 0)
        {
            return 1;
        }

        commands[1] = Command.AtsInvalidate(
            bond.Device.Id & 0xffff, bond.Device.Id >> 16, 0, payload | AtsInvalidatePayload.GlobalBit);
        return 2;
    }

    /// <summary>The command for a device, or for a PASID of it.</summary>
    public static Command For(uint deviceId, Pasid pasid, ulong payload) =>
        Command.AtsInvalidate(deviceId & 0xffff, deviceId >> 16, pasid.IsPresent ? pasid.Value : null, payload);
}
