namespace Ioasis.Replay.Study;

/// <summary>
/// What a cached translation is found by, in 64 bits: IOVA of its first byte in 4 KiB pages (45), class of its size (3, from 1), device (16).
/// </summary>
internal static class TranslationKey
{
    /// <summary>Classes of sizes: 4 KiB, 64 KiB (16 entries of the table that say so, Svnapot), 2 MiB, 1 GiB, 512 GiB.</summary>
    public const int Classes = 5;

    private const int ClassShift = 16;
    private const int PageShift = ClassShift + 3;

    /// <summary>log2 of the bytes of each class.</summary>
    public static ReadOnlySpan<int> SizesLog2 => [12, 16, 21, 30, 39];

    /// <summary>Makes a key.</summary>
    public static ulong Of(int device, ulong iova, int sizeClass) => (iova >> 12 << PageShift) | ((ulong)(sizeClass + 1) << ClassShift) | (ushort)device;

    /// <summary>The class of its size.</summary>
    public static int ClassOf(ulong key) => (int)(key >> ClassShift & 7) - 1;

    /// <summary>Names all keys of a device.</summary>
    public readonly struct OfDevice(int device) : IKeyRule
    {
        /// <inheritdoc/>
        public bool Names(ulong key) => (ushort)key == (ushort)device;
    }

    /// <summary>Names the keys of a device whose first byte lies in a range.</summary>
    public readonly struct InRange(int device, ulong start, ulong last) : IKeyRule
    {
        /// <inheritdoc/>
        public bool Names(ulong key) => (ushort)key == (ushort)device && key >> PageShift >= start >> 12 && key >> PageShift <= last >> 12;
    }
}
