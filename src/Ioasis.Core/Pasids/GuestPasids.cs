namespace Ioasis.Core;

/// <summary>
/// The private numbers of a set, and which IOASID each stands for (S0.9): 8 bytes for each, in pages that are made when they
/// are first needed. Look-ups take no lock; changes are made under the set's.
/// </summary>
internal sealed class GuestPasids
{
    private const int PageLog2 = 10;
    private const uint PageMask = (1 << PageLog2) - 1;

    private readonly ulong[]?[] _pages = new ulong[]?[1 << PageLog2];

    /// <summary>Number and life of the IOASID, or 0. <paramref name="guest"/> may be any.</summary>
    public ulong this[uint guest]
    {
        get
        {
            ulong[]?[] pages = _pages;
            uint index = guest >> PageLog2;
            return index < (uint)pages.Length && pages[index] is { } page ? Volatile.Read(ref page[guest & PageMask]) : 0;
        }

        set
        {
            ref ulong[]? page = ref _pages[guest >> PageLog2];
            if (page is null && value != 0)
            {
                Volatile.Write(ref page, new ulong[1 << PageLog2]);
            }

            if (page is not null)
            {
                Volatile.Write(ref page[guest & PageMask], value);
            }
        }
    }
}
