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
/// Alignments are the powers of two from a page to 2 MiB, which an automatic IOVA keeps as Linux's does, and 1 GiB, the largest
/// leaf. Class 0 is a page.
/// </remarks>
internal readonly struct HoleRoom
{
    /// <summary>How many numbers one has: 11 alignments, the last of them twice, so that three vectors are full.</summary>
    public const int Numbers = 12;

    private const int PageLog2 = 12;
    private const int ClassOf64KiB = 16 - PageLog2;
    private const int ClassOf2MiB = 21 - PageLog2;
    private const int ClassOf1GiB = ClassOf2MiB + 1;
    private const int LargestLog2 = 30;

    private readonly Vector256<ulong> _to32KiB;
    private readonly Vector256<ulong> _to512KiB;
    private readonly Vector256<ulong> _largest;

    private HoleRoom(Vector256<ulong> to32KiB, Vector256<ulong> to512KiB, Vector256<ulong> largest)
    {
        _to32KiB = to32KiB;
        _to512KiB = to512KiB;
        _largest = largest;
    }

    // Alignments less one.
    private static Vector256<ulong> MasksTo32KiB => Vector256.Create(0xffful, 0x1fff, 0x3fff, 0x7fff);

    private static Vector256<ulong> MasksTo512KiB => Vector256.Create(0xfffful, 0x1_ffff, 0x3_ffff, 0x7_ffff);

    private static Vector256<ulong> LargestMasks => Vector256.Create(0xf_fffful, 0x1f_ffff, LargestMask, LargestMask);

    private static ulong LargestMask => (1ul << LargestLog2) - 1;

    /// <summary>The alignment of a class, less one.</summary>
    public static ulong MaskOf(int index) => (1ul << (index == ClassOf1GiB ? LargestLog2 : PageLog2 + index)) - 1;

    /// <summary>The class with the largest alignment that is at most <paramref name="alignment"/>, a power of two from 4 KiB on.</summary>
    public static int ClassOf(ulong alignment)
    {
        int log2 = BitOperations.Log2(alignment);
        return log2 >= LargestLog2 ? ClassOf1GiB : Math.Min(log2 - PageLog2, ClassOf2MiB);
    }

    /// <summary>The class of the largest leaf that tables have and that is at most <paramref name="alignment"/>.</summary>
    public static int LeafOf(ulong alignment) => NextSmallerLeaf(ClassOf(alignment) + 1);

    /// <summary>The class with the next smaller leaf that tables have, 1 GiB, 2 MiB, 16 pages or a page; -1 if there is none.</summary>
    public static int NextSmallerLeaf(int index) => index switch
    {
        > ClassOf1GiB => ClassOf1GiB,
        > ClassOf2MiB => ClassOf2MiB,
        > ClassOf64KiB => ClassOf64KiB,
        > 0 => 0,
        _ => -1,
    };

    /// <summary>The room of a hole.</summary>
    /// <param name="start">First byte.</param>
    /// <param name="end">The byte after the last; not below <paramref name="start"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static HoleRoom Of(ulong start, ulong end) => start <= ulong.MaxValue - LargestMask
        ? new(Of(start, end, MasksTo32KiB), Of(start, end, MasksTo512KiB), Of(start, end, LargestMasks))
        : AtTheEnd(start, end);

    /// <summary>The larger of each number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static HoleRoom Max(in HoleRoom left, in HoleRoom right) => new(
        Vector256.Max(left._to32KiB, right._to32KiB),
        Vector256.Max(left._to512KiB, right._to512KiB),
        Vector256.Max(left._largest, right._largest));

    /// <summary>Whether each number is the same.</summary>
    public static bool AreSame(in HoleRoom left, in HoleRoom right) =>
        ((left._to32KiB ^ right._to32KiB) | (left._to512KiB ^ right._to512KiB) | (left._largest ^ right._largest)) == default;

    /// <summary>Whether a hole with the room <paramref name="before"/> had one of these largest rooms and lost a part of it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool IsLess(in HoleRoom before, in HoleRoom after) =>
        ((Vector256.Equals(before._to32KiB, _to32KiB) & Vector256.LessThan(after._to32KiB, before._to32KiB))
            | (Vector256.Equals(before._to512KiB, _to512KiB) & Vector256.LessThan(after._to512KiB, before._to512KiB))
            | (Vector256.Equals(before._largest, _largest) & Vector256.LessThan(after._largest, before._largest))) != default;

    /// <summary>The numbers of several, one after the other: <see cref="Numbers"/> of each, by class.</summary>
    public static ReadOnlySpan<ulong> AsNumbers(ReadOnlySpan<HoleRoom> rooms) => MemoryMarshal.Cast<HoleRoom, ulong>(rooms);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Of(ulong start, ulong end, Vector256<ulong> masks)
    {
        Vector256<ulong> aligned = Vector256.AndNot(Vector256.Create(start) + masks, masks);
        return Vector256.Max(Vector256.Create(end), aligned) - aligned;
    }

    // Where rounding up may pass the end of the address space.
    private static HoleRoom AtTheEnd(ulong start, ulong end)
    {
        Span<ulong> room = stackalloc ulong[Numbers];
        for (int i = 0; i <= ClassOf1GiB; i++)
        {
            ulong aligned = (start + MaskOf(i)) & ~MaskOf(i);
            room[i] = aligned >= start && aligned < end ? end - aligned : 0;
        }

        room[Numbers - 1] = room[ClassOf1GiB];
        return MemoryMarshal.Read<HoleRoom>(MemoryMarshal.AsBytes(room));
    }
}
