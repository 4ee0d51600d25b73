using System.Numerics;

namespace Ioasis.Devices.Dsa;

/// <summary>
/// CRC32C (polynomial 11EDC6F41h) with the variants that flags ask for (DSA specification 1.x, section 8.3.11). The state is kept reflected.
/// </summary>
internal static class DsaCrc
{
    /// <summary>The state before the first byte.</summary>
    public static uint Begin(uint seed, bool isPlain) => isPlain ? Reflect(seed) : ~seed;

    /// <summary>The state after further bytes.</summary>
    public static uint Add(uint state, ReadOnlySpan<byte> data, bool isPlain)
    {
        if (isPlain)
        {
            foreach (byte value in data)
            {
                state = BitOperations.Crc32C(state, (byte)(Reflect(value) >> 24));
            }

            return state;
        }

        while (data.Length >= sizeof(ulong))
        {
            state = BitOperations.Crc32C(state, System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(data));
            data = data[sizeof(ulong)..];
        }

        foreach (byte value in data)
        {
            state = BitOperations.Crc32C(state, value);
        }

        return state;
    }

    /// <summary>The result.</summary>
    public static uint End(uint state, bool isPlain) => isPlain ? Reflect(state) : ~state;

    private static uint Reflect(uint value)
    {
        value = ((value >> 1) & 0x5555_5555) | ((value & 0x5555_5555) << 1);
        value = ((value >> 2) & 0x3333_3333) | ((value & 0x3333_3333) << 2);
        value = ((value >> 4) & 0x0f0f_0f0f) | ((value & 0x0f0f_0f0f) << 4);
        return System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(value);
    }
}
