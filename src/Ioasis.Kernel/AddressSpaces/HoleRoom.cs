using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ioasis.Kernel;

/// <summary>
/// How much a hole can hold: for each size of leaf that a mapping may want to be aligned to, the bytes from the first aligned
/// address in the hole to its end. The largest of several holes, taken for each size by itself, says whether one of them holds
/// an aligned range of a given length, exactly.
/// </summary>
internal static class HoleRoom
{
    /// <summary>How many sizes there are.</summary>
    public const int Classes = 4;

    private const ulong LargestMask = (1ul << 30) - 1;

    // Leaves that tables have: a page, 16 of them, and the next two levels.
    private static Vector256<ulong> Masks => Vector256.Create(0xffful, 0xfffful, 0x1f_fffful, LargestMask);

    /// <summary>The mask of a class: 4 KiB, 64 KiB, 2 MiB, 1 GiB, less one.</summary>
    public static ulong MaskOf(int index) => Masks[index];

    /// <summary>The largest class whose alignment is at most <paramref name="alignment"/>, a power of two from 4 KiB on.</summary>
    public static int ClassOf(ulong alignment)
    {
        int index = Classes - 1;
        while (index > 0 && Masks[index] >= alignment)
        {
            index--;
        }

        return index;
    }

    /// <summary>The room of a hole.</summary>
    /// <param name="start">First byte.</param>
    /// <param name="end">The byte after the last; not below <paramref name="start"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<ulong> Of(ulong start, ulong end)
    {
        if (start > ulong.MaxValue - LargestMask)
        {
            return AtTheEnd(start, end);
        }

        Vector256<ulong> aligned = Vector256.AndNot(Vector256.Create(start) + Masks, Masks);
        return Vector256.Max(Vector256.Create(end), aligned) - aligned;
    }

    // Where rounding up may pass the end of the address space.
    private static Vector256<ulong> AtTheEnd(ulong start, ulong end)
    {
        Vector256<ulong> room = default;
        for (int i = 0; i < Classes; i++)
        {
            ulong aligned = (start + Masks[i]) & ~Masks[i];
            room = room.WithElement(i, aligned >= start && aligned < end ? end - aligned : 0);
        }

        return room;
    }
}
