using System.Buffers.Binary;

namespace Ioasis.Devices.Network;

/// <summary>The checksum of IP, TCP and UDP (RFC 1071): the complement of the ones' complement sum of 16-bit words.</summary>
internal static class InternetChecksum
{
    /// <summary>
    /// Completes a checksum in its place: the field holds the sum of the pseudo header, and the sum runs from an offset to the frame's end
    /// (virtio 1.3, section 5.1.6.2).
    /// </summary>
    /// <returns>False if the field lies outside of the frame.</returns>
    public static bool TryComplete(Span<byte> frame, int start, int offset)
    {
        if (start + offset + 2 > frame.Length)
        {
            return false;
        }

        ushort sum = (ushort)~Sum(frame[start..]);

        // 0 would say of UDP that there is no checksum; its complement means the same number.
        BinaryPrimitives.WriteUInt16BigEndian(frame[(start + offset)..], sum == 0 ? ushort.MaxValue : sum);
        return true;
    }

    /// <summary>The sum, folded to 16 bits; an odd last byte is the upper half of a word.</summary>
    public static ushort Sum(ReadOnlySpan<byte> bytes)
    {
        ulong sum = 0;
        for (; bytes.Length >= 4; bytes = bytes[4..])
        {
            sum += BinaryPrimitives.ReadUInt32BigEndian(bytes);
        }

        if (bytes.Length >= 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(bytes);
            bytes = bytes[2..];
        }

        if (bytes.Length > 0)
        {
            sum += (uint)bytes[0] << 8;
        }

        while (sum > ushort.MaxValue)
        {
            sum = (sum & ushort.MaxValue) + (sum >> 16);
        }

        return (ushort)sum;
    }
}
