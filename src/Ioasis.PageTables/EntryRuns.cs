using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ioasis.PageTables;

/// <summary>What a run of entries holds.</summary>
/// <param name="Present">Entries that are present.</param>
/// <param name="Any">All entries or-ed.</param>
/// <param name="HighBits">Entries that have bit 63.</param>
internal readonly record struct RunSummary(int Present, ulong Any, int HighBits);

/// <summary>
/// Bulk work on runs of 8-byte entries in host memory. Vector stores to addresses aligned to 8 bytes never tear an entry on the
/// processors that .NET runs on.
/// </summary>
internal static unsafe class EntryRuns
{
    /// <summary>Looks at a run; bit 0 means present, in every format of 8-byte entries that there is.</summary>
    public static RunSummary Summarize(ulong* entries, int count)
    {
        ulong any = 0;
        int present = 0;
        int high = 0;
        int i = 0;
        if (Vector256.IsHardwareAccelerated && count >= 4)
        {
            Vector256<ulong> anyBits = default;
            Vector256<ulong> presentCounts = default;
            Vector256<ulong> highCounts = default;
            for (; i <= count - 4; i += 4)
            {
                Vector256<ulong> run = Vector256.Load(entries + i);
                anyBits |= run;
                presentCounts += run & Vector256<ulong>.One;
                highCounts += run >>> 63;
            }

            present = (int)Vector256.Sum(presentCounts);
            high = (int)Vector256.Sum(highCounts);
            Vector128<ulong> half = anyBits.GetLower() | anyBits.GetUpper();
            any = half[0] | half[1];
        }

        for (; i < count; i++)
        {
            any |= entries[i];
            present += (int)entries[i] & 1;
            high += (int)(entries[i] >>> 63);
        }

        return new(present, any, high);
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
