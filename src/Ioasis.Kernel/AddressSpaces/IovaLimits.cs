using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// Which IOVAs an address space can use: all but what its domains' apertures and its devices' reserved regions take away
/// (S3.1, S3.4), and which of them the user wants to keep. Not thread-safe.
/// </summary>
internal sealed class IovaLimits
{
    private readonly List<(AddressRange Range, object Owner)> _reserved = [];
    private IntervalSet _usable = NewFull();
    private IntervalSet _allowed = [];

    /// <summary>The usable IOVAs: sorted, disjoint, maximal (S3.12).</summary>
    public IntervalSet Usable => _usable;

    /// <summary>What the user wants to keep usable; empty if nothing in particular.</summary>
    public IntervalSet Allowed => _allowed;

    /// <summary>How many reservations there are: 0 when nothing leaks.</summary>
    public int ReservationCount => _reserved.Count;

    /// <summary>Whether ranges, which may be unsorted and overlap, can be reserved as far as the allow-list is concerned.</summary>
    public bool ConflictsWithAllowed(AddressRange range) => _allowed.Overlaps(range);

    /// <summary>Reserves ranges for an owner.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> if nothing would be left (S3.12) and must be: then nothing changed.</returns>
    public Errno Reserve(IReadOnlyCollection<AddressRange> ranges, object owner, bool mayLeaveNothing = false)
    {
        if (ranges.Count == 0)
        {
            return Errno.Success;
        }

        int before = _reserved.Count;
        foreach (AddressRange range in ranges)
        {
            _reserved.Add((range, owner));
        }

        IntervalSet usable = Compute();
        if (usable.Count == 0 && !mayLeaveNothing)
        {
            _reserved.RemoveRange(before, _reserved.Count - before);
            return Errno.InvalidArgument;
        }

        _usable = usable;
        return Errno.Success;
    }

    /// <summary>Gives back everything that an owner reserved: the ranges widen again (S3.4).</summary>
    public void Release(object owner)
    {
        if (_reserved.RemoveAll(entry => ReferenceEquals(entry.Owner, owner)) > 0)
        {
            _usable = Compute();
        }
    }

    /// <summary>Replaces the allow-list.</summary>
    /// <returns>Success, or <see cref="Errno.AddressInUse"/> if one of them is not usable now: then nothing changed.</returns>
    public Errno Allow(IntervalSet allowed)
    {
        foreach (AddressRange range in allowed)
        {
            if (!_usable.Contains(range))
            {
                return Errno.AddressInUse;
            }
        }

        _allowed = allowed;
        return Errno.Success;
    }

    private IntervalSet Compute() =>
        _reserved.Count == 0
            ? NewFull()
            : IntervalSet.FromUnsorted(_reserved.Select(static entry => entry.Range)).Complement(AddressRange.All);

    private static IntervalSet NewFull()
    {
        IntervalSet full = [];
        full.Add(AddressRange.All);
        return full;
    }
}
