using System.Runtime.CompilerServices;

namespace Ioasis.Core;

/// <summary>
/// A table with a place for each 20-bit number, in two levels. Look-ups take no lock and see an object only after it was
/// initialised (S0.14, S0.15); what they found stays valid memory for as long as they hold it.
/// </summary>
internal sealed class PagedTable<T>
    where T : class
{
    private const int PageLog2 = 10;
    private const uint PageMask = (1 << PageLog2) - 1;

    private readonly Page?[] _pages = new Page?[1 << PageLog2];

    /// <summary>What is there, or null. <paramref name="number"/> may be any.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T? Find(uint number)
    {
        Page?[] pages = _pages;
        uint index = number >> PageLog2;
        return index < (uint)pages.Length && pages[index] is { } page
            ? Volatile.Read(ref page.Entries[number & PageMask].Value)
            : null;
    }

    /// <summary>Publishes an object, or takes it out.</summary>
    /// <param name="number">0 to 2^20-1.</param>
    /// <param name="value">The object, complete; or null.</param>
    public void Set(uint number, T? value)
    {
        ref Page? place = ref _pages[number >> PageLog2];
        Page? page = Volatile.Read(ref place);
        if (page is null)
        {
            if (value is null)
            {
                return;
            }

            Page made = new();
            page = Interlocked.CompareExchange(ref place, made, null) ?? made;
        }

        Volatile.Write(ref page.Entries[number & PageMask].Value, value);
    }

    // A struct around the reference, so that storing it needs no check of the array's type.
    private struct Entry
    {
        public T? Value;
    }

    private sealed class Page
    {
        public readonly Entry[] Entries = new Entry[1 << PageLog2];
    }
}
