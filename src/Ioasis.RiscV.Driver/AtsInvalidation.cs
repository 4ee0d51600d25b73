using System.Numerics;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>What a device that caches translations is told (section 3.1.4; PCIe ATS, "Invalidate Request").</summary>
internal static class AtsInvalidation
{
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
