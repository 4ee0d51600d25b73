using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Ioasis.Kernel;

/// <summary>
/// How much a hole can hold: for each alignment that a mapping may need, the bytes from the first aligned address in the hole to
/// its end. The largest of several holes, taken for each alignment by itself, says whether one of them holds an aligned range of a
/// given length, exactly.
/// </summary>
/// <remarks>
/// Each alignment is a class. Classes are in groups of four, which are computed together: first the leaves that tables have, which
/// most mappings ask for, then the other powers of two to 1 MiB, which an automatic IOVA keeps as Linux's does.
/// Nothing is aligned for more than its own length, rounded up to a power of two.
/// </remarks>
internal static class HoleRoom
{
    /// <summary>How many groups there are.</summary>
    public const int Groups = 3;

    /// <summary>How many classes a group has.</summary>
    public const int GroupSize = 4;

    private const int PageLog2 = 12;
    private const ulong LargestMask = (1ul << 30) - 1;

    // Alignments less one, by class: a page, 16 of them, 2 MiB, 1 GiB; 8 to 32 and 128 KiB; 256 KiB to 1 MiB, and one for nothing.
    private static ReadOnlySpan<ulong> Masks =>
    [
        0xfff, 0xffff, 0x1f_ffff, LargestMask,
        0x1fff, 0x3fff, 0x7fff, 0x1_ffff,
        0x3_ffff, 0x7_ffff, 0xf_ffff, 0xf_ffff,
    ];

    // By group, half of the least alignment: what is not larger is never aligned so far, and a hole of that size counts as none.
    private static ReadOnlySpan<ulong> TooSmall => [0, 0x1000, 0x2_0000];

    // The class of each power of two from a page to 2 MiB.
    private static ReadOnlySpan<byte> Classes => [0, 4, 5, 6, 1, 7, 8, 9, 10, 2];

    /// <summary>The alignment of a class, less one.</summary>
    public static ulong MaskOf(int index) => Masks[index];

    /// <summary>The class of an alignment, a power of two from a page to 2 MiB.</summary>
    public static int ClassOf(ulong alignment) => Classes[BitOperations.Log2(alignment) - PageLog2];

    /// <summary>
    /// The class of the largest leaf that is at most <paramref name="alignment"/>, a power of two from a page on. The next smaller leaf's
    /// is one less, to 0 for a page.
    /// </summary>
    public static int LeafOf(ulong alignment)
    {
        int index = GroupSize - 1;
        while (index > 0 && Masks[index] >= alignment)
        {
            index--;
        }

        return index;
    }

    /// <summary>The room of a hole, for the classes of a group.</summary>
    /// <param name="group">Which group.</param>
    /// <param name="start">First byte.</param>
    /// <param name="end">The byte after the last; not below <paramref name="start"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<ulong> Of(int group, ulong start, ulong end)
    {
        if (end - start <= TooSmall[group])
        {
            return default;
        }

        var masks = Vector256.LoadUnsafe(ref MemoryMarshal.GetReference(Masks), (nuint)(group * GroupSize));
        if (start > ulong.MaxValue - LargestMask)
        {
            return AtTheEnd(masks, start, end);
        }

        Vector256<ulong> aligned = Vector256.AndNot(Vector256.Create(start) + masks, masks);
        return Vector256.Max(Vector256.Create(end), aligned) - aligned;
    }

    // Where rounding up may pass the end of the address space.
    private static Vector256<ulong> AtTheEnd(Vector256<ulong> masks, ulong start, ulong end)
    {
        Vector256<ulong> room = default;
        for (int i = 0; i < GroupSize; i++)
        {
            ulong aligned = (start + masks[i]) & ~masks[i];
            room = room.WithElement(i, aligned >= start && aligned < end ? end - aligned : 0);
        }

        return room;
    }
}
