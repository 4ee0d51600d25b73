using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>A bit a page over a range of IOVAs, bit n of word n / 64 for page n.</summary>
internal readonly ref struct DirtyBitmap
{
    private readonly Span<ulong> _words;

    /// <summary>Makes a view of a bitmap.</summary>
    /// <param name="words">The bits.</param>
    /// <param name="start">The IOVA of bit 0.</param>
    /// <param name="pageSizeLog2">log2 of the bytes of a page, 0 to 63.</param>
    public DirtyBitmap(Span<ulong> words, Iova start, int pageSizeLog2)
    {
        _words = words;
        Start = start;
        PageSizeLog2 = pageSizeLog2;
    }

    /// <summary>The IOVA of bit 0.</summary>
    public Iova Start { get; }

    /// <summary>log2 of the bytes of a page.</summary>
    public int PageSizeLog2 { get; }

    /// <summary>Sets the bits of every page that shares a byte with a range; what lies outside the bitmap is left out.</summary>
    public void Set(AddressRange range)
    {
        if (range.Last < Start.Value)
        {
            return;
        }

        ulong first = (Math.Max(range.Start, Start.Value) - Start.Value) >> PageSizeLog2;
        ulong last = Math.Min((range.Last - Start.Value) >> PageSizeLog2, ((ulong)_words.Length << 6) - 1);
        if (_words.IsEmpty || first > last)
        {
            return;
        }

        int word = (int)(first >> 6);
        int lastWord = (int)(last >> 6);
        ulong mask = ulong.MaxValue << (int)(first & 63);
        for (; word < lastWord; word++)
        {
            _words[word] |= mask;
            mask = ulong.MaxValue;
        }

        _words[word] |= mask & (ulong.MaxValue >> (63 - (int)(last & 63)));
    }
}
