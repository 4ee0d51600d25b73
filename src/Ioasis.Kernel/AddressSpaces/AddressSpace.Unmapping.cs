using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>How mappings go: out of the tables first, and from the books when their invalidation is complete.</content>
internal sealed partial class AddressSpace
{
    private Errno UnmapRange(ulong start, ulong last, bool lazy, out ulong unmapped)
    {
        unmapped = 0;
        ulong cursor = start;
        bool more = true;
        while (more)
        {
            Errno stop = Errno.Success;
            _unmapping.Clear();
            while (more && stop == Errno.Success && _unmapping.Count < UnmapChunk)
            {
                Area? area = _areas.FindOverlap(cursor, last, out ulong areaStart, out ulong areaLast);
                if (area is null)
                {
                    more = false;
                    break;
                }

                if (area.State == AreaState.Live)
                {
                    if (areaStart < start || areaLast > last)
                    {
                        stop = Errno.NoEntry;
                        break;
                    }

                    _unmapping.Add(area);
                    unmapped += areaLast - areaStart + 1;
                }

                more = areaLast < last;
                cursor = areaLast + 1;
            }

            Errno error = Retire(_domains.Count, lazy);
            if (error != Errno.Success || stop != Errno.Success)
            {
                return error != Errno.Success ? error : stop;
            }
        }

        return unmapped > 0 ? Errno.Success : Errno.NoEntry;
    }

    // Takes the areas of the list out of the first domains and frees them, as far as the invalidations allow.
    private Errno Retire(int domains, bool lazy)
    {
        foreach (Area area in _unmapping)
        {
            area.State = AreaState.Retired;
            _liveCount--;
            area.Waiting = domains;
            if (domains == 0)
            {
                Free(area);
            }
        }

        Errno result = Errno.Success;
        for (int i = 0; i < domains; i++)
        {
            foreach (Area area in _unmapping)
            {
                if (_domains[i].Batch.Unmap(new(area.Start), area.Length) != Errno.Success)
                {
                    // Devices reach it whatever is invalidated: it waits until a later call gets it out (invariant 1).
                    _domains[i].Stuck.Add(area);
                    result = Errno.IoError;
                }
            }
        }

        for (int i = 0; i < domains; i++)
        {
            AddressSpaceDomain domain = _domains[i];
            Errno error = lazy ? Errno.TryAgain : domain.Batch.Complete();
            if (error != Errno.Success && !lazy)
            {
                result = error;
            }

            // The first takes the invalidation of all along; a queue that fills up may free areas while this runs.
            for (int j = 0; j < _unmapping.Count; j++)
            {
                Area area = _unmapping[j];
                if (domain.Stuck.Count > 0 && domain.Stuck.Contains(area))
                {
                    continue;
                }

                if (error != Errno.Success)
                {
                    _ = domain.Batch.Defer(domain.Lazy, area.Range, this, 0, 0);
                }
                else if (--area.Waiting == 0)
                {
                    Free(area);
                }
            }
        }

        return result;
    }
}
