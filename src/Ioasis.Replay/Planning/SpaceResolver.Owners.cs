using System.Runtime.InteropServices;

namespace Ioasis.Replay.Planning;

// Which real device a space is, where the recording's other events tell.
internal sealed partial class SpaceResolver
{
    /// <summary>
    /// For each space the one device of those with DMA events whose own maps never lie over the space's, if there is one: an
    /// IOVA is not handed out twice. A stray overlap does not decide: every other device must have fifty times as many, and one.
    /// </summary>
    /// <param name="candidates">Devices with DMA events.</param>
    public Dictionary<int, int> FindOwners(IReadOnlyCollection<int> candidates)
    {
        Dictionary<int, int> owners = [];
        foreach (Space space in _spaces)
        {
            if (!space.IsSynthetic)
            {
                continue;
            }

            if (LinkedTo(space) is { } linked)
            {
                owners.Add(space.Device, linked);
                continue;
            }

            int found = -1;
            long fewest = long.MaxValue;
            long next = long.MaxValue;
            foreach (int device in candidates)
            {
                long conflicts = space.Conflicts.GetValueOrDefault(device);
                if (conflicts < fewest)
                {
                    (found, next, fewest) = (device, fewest, conflicts);
                }
                else
                {
                    next = Math.Min(next, conflicts);
                }
            }

            if (found >= 0 && next > 0 && next / 50 >= fewest)
            {
                owners.Add(space.Device, found);
            }
        }

        // One device has one space: where two spaces would be one device's, neither is taken for it.
        foreach (IGrouping<int, KeyValuePair<int, int>> same in owners.GroupBy(static o => o.Value).Where(static g => g.Count() > 1).ToArray())
        {
            foreach (KeyValuePair<int, int> owner in same)
            {
                owners.Remove(owner.Key);
            }
        }

        return owners;
    }

    // A stray link (an event that found the wrong unmap) does not decide.
    private static int? LinkedTo(Space space)
    {
        long all = space.Links.Values.Sum();
        foreach ((int device, long links) in space.Links)
        {
            if (links > 2 && links * 10 >= all * 9)
            {
                return device;
            }
        }

        return null;
    }

    private void CountConflicts(Space space, ulong start, ulong last)
    {
        foreach (Space other in _spaces)
        {
            if (!other.IsSynthetic && other.Overlaps(start, last, _found))
            {
                CollectionsMarshal.GetValueRefOrAddDefault(space.Conflicts, other.Device, out _)++;
            }
        }
    }

    private void CountConflictsOf(Space owner, ulong start, ulong last)
    {
        foreach (Space space in _spaces)
        {
            if (space.IsSynthetic && space.Overlaps(start, last, _found))
            {
                CollectionsMarshal.GetValueRefOrAddDefault(space.Conflicts, owner.Device, out _)++;
            }
        }
    }
}
