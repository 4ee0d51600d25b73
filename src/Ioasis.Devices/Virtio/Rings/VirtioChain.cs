namespace Ioasis.Devices.Virtio;

/// <summary>
/// A buffer that a driver made available: what the device reads, then what it writes, in pieces. Kept and used again, so that taking one
/// allocates nothing once it has room.
/// </summary>
internal sealed class VirtioChain(VirtioDevice device)
{
    private Piece[] _pieces = new Piece[16];
    private int _count;
    private int _readable;

    private readonly record struct Piece(ulong Address, uint Length);

    /// <summary>Its number in the ring: the first descriptor's of a split ring, the buffer ID of a packed one.</summary>
    public uint Id { get; set; }

    /// <summary>Descriptors of the ring itself that it takes.</summary>
    public int Slots { get; set; }

    /// <summary>Bytes that the device reads.</summary>
    public long ReadableBytes { get; private set; }

    /// <summary>Bytes that the device writes.</summary>
    public long WritableBytes { get; private set; }

    /// <summary>Pieces, readable and writable.</summary>
    public int Pieces => _count;

    /// <summary>Bytes of the longest piece.</summary>
    public uint LongestPiece { get; private set; }

    /// <summary>The first address that the device writes; null if there is none.</summary>
    public ulong? FirstWritable => _count > _readable ? _pieces[_readable].Address : null;

    /// <summary>Empties it.</summary>
    public void Clear()
    {
        _count = 0;
        _readable = 0;
        Slots = 0;
        ReadableBytes = 0;
        WritableBytes = 0;
        LongestPiece = 0;
    }

    /// <summary>Adds a piece.</summary>
    /// <returns>Null, or what is wrong with it.</returns>
    public string? Add(ulong address, uint length, bool isWritable)
    {
        if (!isWritable && WritableBytes + (_count - _readable) > 0)
        {
            return "a descriptor to read follows one to write";
        }

        if (length > 0 && address > ulong.MaxValue - (length - 1))
        {
            return "a descriptor reaches beyond the last address";
        }

        if (_count == _pieces.Length)
        {
            Array.Resize(ref _pieces, 2 * _count);
        }

        _pieces[_count++] = new(address, length);
        LongestPiece = Math.Max(LongestPiece, length);
        if (isWritable)
        {
            WritableBytes += length;
        }
        else
        {
            _readable = _count;
            ReadableBytes += length;
        }

        // Virtio 1.3, sections 2.7.5 and 2.8.5: a buffer has at most 2^32 bytes.
        return ReadableBytes + WritableBytes > 1L << 32 ? "a buffer has more than 2^32 bytes" : null;
    }

    /// <summary>Reads of the readable bytes.</summary>
    /// <param name="offset">The first.</param>
    /// <param name="destination">Ends within them.</param>
    /// <returns>Whether memory answered.</returns>
    public bool Read(long offset, Span<byte> destination)
    {
        for (int i = 0; i < _readable && !destination.IsEmpty; i++)
        {
            if (Cut(_pieces[i], ref offset, destination.Length, out ulong address) is var length and > 0)
            {
                if (!device.ReadGuest(address, destination[..length]))
                {
                    return false;
                }

                destination = destination[length..];
            }
        }

        return destination.IsEmpty;
    }

    /// <summary>Writes of the writable bytes.</summary>
    /// <param name="offset">The first.</param>
    /// <param name="source">Ends within them.</param>
    /// <returns>Whether memory took it.</returns>
    public bool Write(long offset, ReadOnlySpan<byte> source)
    {
        for (int i = _readable; i < _count && !source.IsEmpty; i++)
        {
            if (Cut(_pieces[i], ref offset, source.Length, out ulong address) is var length and > 0)
            {
                if (!device.WriteGuest(address, source[..length]))
                {
                    return false;
                }

                source = source[length..];
            }
        }

        return source.IsEmpty;
    }

    // The part of a piece from an offset on; the offset then counts from the next piece.
    private static int Cut(Piece piece, ref long offset, int wanted, out ulong address)
    {
        if (offset >= piece.Length)
        {
            offset -= piece.Length;
            address = 0;
            return 0;
        }

        address = piece.Address + (ulong)offset;
        int length = (int)Math.Min(piece.Length - offset, wanted);
        offset = 0;
        return length;
    }
}
