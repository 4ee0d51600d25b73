using System.Buffers.Binary;

namespace Ioasis.Devices;

/// <summary>
/// Registers of a device that a client has mapped, as the device sees them: it reads what was stored there and shows what is to
/// be read. Accesses are single and ordered. A client may store anything at any time.
/// </summary>
public readonly unsafe struct MappedRegisters
{
    private readonly SharedPages? _pages;

    internal MappedRegisters(SharedPages? pages) => _pages = pages;

    /// <summary>Whether nobody has mapped them: accesses read 0 and write nothing.</summary>
    public bool IsEmpty => _pages is null;

    /// <summary>Reads 4 bytes.</summary>
    /// <param name="offset">In the region, a multiple of 4.</param>
    public uint Read32(uint offset)
    {
        uint value = IsInside(offset, 4) ? Volatile.Read(ref *(uint*)(_pages!.Address + (nint)offset)) : 0;
        return BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value);
    }

    /// <summary>Reads 8 bytes.</summary>
    /// <param name="offset">In the region, a multiple of 8.</param>
    public ulong Read64(uint offset)
    {
        ulong value = IsInside(offset, 8) ? Volatile.Read(ref *(ulong*)(_pages!.Address + (nint)offset)) : 0;
        return BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value);
    }

    /// <summary>Writes 4 bytes.</summary>
    /// <param name="offset">In the region, a multiple of 4.</param>
    /// <param name="value">The value.</param>
    public void Write32(uint offset, uint value)
    {
        if (IsInside(offset, 4))
        {
            Volatile.Write(
                ref *(uint*)(_pages!.Address + (nint)offset),
                BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value));
        }
    }

    /// <summary>Takes 4 bytes and leaves others in their place, in one step: no store of the client is lost in between.</summary>
    /// <param name="offset">In the region, a multiple of 4.</param>
    /// <param name="value">What is left there.</param>
    /// <returns>What was there.</returns>
    public uint Exchange32(uint offset, uint value)
    {
        if (!IsInside(offset, 4))
        {
            return 0;
        }

        ref uint place = ref *(uint*)(_pages!.Address + (nint)offset);
        return BitConverter.IsLittleEndian
            ? Interlocked.Exchange(ref place, value)
            : BinaryPrimitives.ReverseEndianness(Interlocked.Exchange(ref place, BinaryPrimitives.ReverseEndianness(value)));
    }

    /// <summary>Writes 8 bytes.</summary>
    /// <param name="offset">In the region, a multiple of 8.</param>
    /// <param name="value">The value.</param>
    public void Write64(uint offset, ulong value)
    {
        if (IsInside(offset, 8))
        {
            Volatile.Write(
                ref *(ulong*)(_pages!.Address + (nint)offset),
                BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value));
        }
    }

    /// <summary>Finds the first of some words that is not a given value. What a client stores meanwhile may or may not be seen.</summary>
    /// <param name="offset">In the region, a multiple of 4.</param>
    /// <param name="count">Words of 4 bytes, all of them inside.</param>
    /// <param name="value">The value.</param>
    /// <returns>Its index among them; -1 if there is none, or they are not inside.</returns>
    internal int IndexOfOther(uint offset, int count, uint value) =>
        TryGetWords(offset, count, out ReadOnlySpan<uint> words)
            ? words.IndexOfAnyExcept(BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value))
            : -1;

    private bool TryGetWords(uint offset, int count, out ReadOnlySpan<uint> words)
    {
        bool isThere = _pages is { } pages && (offset & 3) == 0 && count >= 0 && offset + (4ul * (uint)count) <= pages.Size;
        words = isThere ? new((void*)(_pages!.Address + (nint)offset), count) : default;
        return isThere;
    }

    private bool IsInside(uint offset, uint size) =>
        _pages is { } pages && (offset & (size - 1)) == 0 && offset + (ulong)size <= pages.Size;
}
