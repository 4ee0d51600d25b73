using System.Collections.Concurrent;

namespace Ioasis.VfioUser;

/// <summary>Which pages of 4 KiB a device has written since its log began or was read last. Thread-safe; marking a page that is marked allocates nothing.</summary>
internal sealed class DirtyPages
{
    /// <summary>log2 of the bytes of a page.</summary>
    public const int PageShift = 12;

    private readonly ConcurrentDictionary<ulong, byte> _pages = new();

    /// <summary>Marks what a write has touched.</summary>
    public void Mark(ulong address, ulong length)
    {
        ulong last = (address + (length - 1)) >> PageShift;
        for (ulong page = address >> PageShift; page <= last; page++)
        {
            if (!_pages.ContainsKey(page))
            {
                _pages[page] = 0;
            }
        }
    }

    /// <summary>Bytes of a bitmap: whole words of 8.</summary>
    /// <param name="size">Bytes of the range, not 0.</param>
    /// <param name="pageSize">Bytes for a bit, a power of two.</param>
    public static ulong BytesOf(ulong size, ulong pageSize) => (((size - 1) / pageSize / 64) + 1) * 8;

    /// <summary>Reports a range and forgets it.</summary>
    /// <param name="address">First byte, a multiple of a page.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="pageSize">Bytes for a bit, a power of two from 4096.</param>
    /// <param name="bits">As long as <see cref="BytesOf"/> says; zero.</param>
    public void Take(ulong address, ulong size, ulong pageSize, Span<byte> bits)
    {
        ulong first = address >> PageShift;
        ulong last = (address + (size - 1)) >> PageShift;
        foreach (ulong page in _pages.Keys)
        {
            // Forgotten first: a write that comes after this marks it again.
            if (page >= first && page <= last && _pages.TryRemove(page, out _))
            {
                ulong bit = ((page << PageShift) - address) / pageSize;
                bits[(int)(bit / 8)] |= (byte)(1 << (int)(bit % 8));
            }
        }
    }
}
