using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// The one-to-one mappings that devices need in a domain, each for as long as one of them does. Not thread-safe.
/// </summary>
internal sealed class DirectMappings
{
    private readonly PagingDomain _domain;
    private readonly UnmapBatch _batch;
    private readonly List<(AddressRange Range, object Owner)> _regions = [];

    public DirectMappings(PagingDomain domain)
    {
        _domain = domain;
        _batch = new(domain);
    }

    /// <summary>Maps the direct regions of a device, as far as another has not had them mapped. All or nothing.</summary>
    public Errno Add(IReadOnlyList<ReservedRegion> regions, object owner)
    {
        foreach (ReservedRegion region in regions)
        {
            if (region.Kind != ReservedRegionKind.Direct)
            {
                continue;
            }

            // Whole pages, for a table cannot say less.
            const ulong Mask = AddressSpace.PageSize - 1;
            AddressRange range = new(region.Range.Start & ~Mask, region.Range.Last | Mask);
            Errno error = Map(Covered().Complement(range), region.Access);
            if (error != Errno.Success)
            {
                Remove(owner);
                return error == Errno.OutOfRange ? Errno.InvalidArgument : error;
            }

            _regions.Add((range, owner));
        }

        return Errno.Success;
    }

    /// <summary>Unmaps what only <paramref name="owner"/> needed.</summary>
    public void Remove(object owner)
    {
        List<AddressRange> gone =
            [.. _regions.Where(entry => ReferenceEquals(entry.Owner, owner)).Select(static entry => entry.Range)];
        if (gone.Count == 0)
        {
            return;
        }

        _ = _regions.RemoveAll(entry => ReferenceEquals(entry.Owner, owner));
        IntervalSet covered = Covered();
        foreach (AddressRange range in gone)
        {
            foreach (AddressRange piece in covered.Complement(range))
            {
                _ = _batch.Unmap(new(piece.Start), piece.Length);
            }
        }

        _ = _batch.Complete();
    }

    private Errno Map(IntervalSet pieces, Access access)
    {
        for (int i = 0; i < pieces.Count; i++)
        {
            Errno error = _domain.Map(new(pieces[i].Start), new(pieces[i].Start), pieces[i].Length, access);
            if (error != Errno.Success)
            {
                while (--i >= 0)
                {
                    _ = _batch.Unmap(new(pieces[i].Start), pieces[i].Length);
                }

                _ = _batch.Complete();
                return error;
            }
        }

        return Errno.Success;
    }

    private IntervalSet Covered() => IntervalSet.FromUnsorted(_regions.Select(static entry => entry.Range));
}
