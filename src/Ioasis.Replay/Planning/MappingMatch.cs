using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>Whether a mapping takes an access's page to where the log says that it went.</summary>
internal static class MappingMatch
{
    /// <summary>Whether a map does, if it lives then.</summary>
    public static bool Explains(in MappingEvent map, in DmaAccess access) => Explains(map.Iova, map.Length, map.Value, access);

    /// <summary>Whether an area does, if it lives then; it has the access's page.</summary>
    public static bool Explains(ulong start, ulong length, ulong physical, in DmaAccess access)
    {
        if (access.SizeLog2 == DmaAccess.UnknownSize)
        {
            return BlockOf(start, length, physical, access) != 0;
        }

        ulong mask = access.SizeLog2 <= 12 ? ~4095ul : ~((1ul << access.SizeLog2) - 1);
        ulong page = physical + ((access.Iova & ~4095ul) - start);
        return (page & mask) == (access.Physical & mask);
    }

    /// <summary>
    /// AMD's log has the start of the leaf, and does not tell its size, which may be any power of two: log2 of the aligned block
    /// of the area around the access that starts at the logged address, or 0 if there is none.
    /// </summary>
    public static byte BlockOf(ulong areaStart, ulong length, ulong areaPhysical, in DmaAccess access)
    {
        for (int log2 = 12; log2 < 48; log2++)
        {
            ulong mask = (1ul << log2) - 1;
            ulong start = access.Iova & ~mask;
            if (start < areaStart || (start | mask) - areaStart >= length)
            {
                return 0;
            }

            ulong physical = areaPhysical + (start - areaStart);
            if ((physical & mask) != 0)
            {
                return 0;
            }

            if (physical == (access.Physical & ~4095ul))
            {
                return (byte)log2;
            }
        }

        return 0;
    }
}
