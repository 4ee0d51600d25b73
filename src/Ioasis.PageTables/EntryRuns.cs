using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ioasis.PageTables;

/// <summary>What a run of entries holds.</summary>
/// <param name="Present">Entries that are present.</param>
/// <param name="Contiguous">Entries that are part of a contiguous leaf.</param>
internal readonly record struct RunSummary(int Present, int Contiguous);

/// <summary>
/// Bulk work on runs of 8-byte entries in host memory. Vector stores to addresses aligned to 8 bytes never tear an entry on the
/// processors that .NET runs on.
/// </summary>
internal static unsafe class EntryRuns
{
    /// <summary>Counts the entries of a run that have any bit of a mask, and those that have another bit.</summary>
    /// <param name="entries">The run.</param>
    /// <param name="count">Its length.</param>
    /// <param name="presentMask">What makes an entry present.</param>
    /// <param name="contiguousBit">What makes it a part of a contiguous leaf; 0 for nothing.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static RunSummary Summarize(ulong* entries, int count, ulong presentMask, ulong contiguousBit)
    {
        int absent = 0;
        int contiguous = 0;
        int i = 0;
        if (Vector256.IsHardwareAccelerated && count >= 4)
        {
            // A comparison gives -1 where it holds.
            Vector256<ulong> absentCounts = default;
            Vector256<ulong> plainCounts = default;
            for (; i <= count - 4; i += 4)
            {
                Vector256<ulong> run = Vector256.Load(entries + i);
                absentCounts -= Vector256.Equals(run & Vector256.Create(presentMask), default);
                if (contiguousBit != 0)
                {
                    plainCounts -= Vector256.Equals(run & Vector256.Create(contiguousBit), default);
                }
            }

            absent = (int)Vector256.Sum(absentCounts);
            contiguous = contiguousBit == 0 ? 0 : i - (int)Vector256.Sum(plainCounts);
        }

        for (; i < count; i++)
        {
            absent += (entries[i] & presentMask) == 0 ? 1 : 0;
            contiguous += (entries[i] & contiguousBit) != 0 ? 1 : 0;
        }

        return new(count - absent, contiguous);
    }

    /// <summary>Whether no entry of a run is present. Entries that are not present are 0.</summary>
    public static bool IsZero(ulong* entries, int count) => !new ReadOnlySpan<ulong>(entries, count).ContainsAnyExcept(0ul);

    /// <summary>Stores first, first + step, first + 2 step, …, after everything that was stored before.</summary>
    public static void Fill(ulong* entries, int count, ulong first, ulong step)
    {
        Volatile.WriteBarrier();
        int i = 0;
        if (Vector256.IsHardwareAccelerated && count >= 8)
        {
            Vector256<ulong> low = Vector256.Create(first, first + step, first + (2 * step), first + (3 * step));
            Vector256<ulong> four = Vector256.Create(4 * step);
            Vector256<ulong> eight = four + four;
            Vector256<ulong> high = low + four;
            for (; i <= count - 8; i += 8)
            {
                low.Store(entries + i);
                high.Store(entries + i + 4);
                low += eight;
                high += eight;
            }

            first += (ulong)i * step;
        }

        for (; i < count; i++)
        {
            Unsafe.AsRef<ulong>(entries + i) = first;
            first += step;
        }
    }

    /// <summary>Stores one value all over, after everything that was stored before.</summary>
    public static void Fill(ulong* entries, int count, ulong value)
    {
        Volatile.WriteBarrier();
        new Span<ulong>(entries, count).Fill(value);
    }
}
