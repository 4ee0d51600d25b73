using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Memory of other devices, which can be taken back at any moment.</content>
internal sealed partial class AddressSpace
{
    /// <summary>
    /// A device takes its memory back: what is mapped of it leads nowhere from now on, and stays so. What an IOMMU does not confirm is
    /// kept in mind, and its IOVAs reserved, until it does.
    /// </summary>
    public void Revoke(DmaBufferFile buffer)
    {
        using (_lock.Acquire())
        {
            // What was unmapped lazily may still be reached through caches.
            if (PendingCount > 0)
            {
                _ = FlushAll();
            }

            List<Area> areas = [];
            _areas.Visit((_, area) =>
            {
                if (area is { State: AreaState.Live, IsHollow: false } && area.Memory!.Device == buffer)
                {
                    areas.Add(area);
                }

                return true;
            });
            foreach (Area area in areas)
            {
                area.IsHollow = area.Memory!.IsRevoked = true;
                foreach (AddressSpaceDomain domain in _domains)
                {
                    _ = domain.Direct.Abandon(area.Range);
                }
            }

            _domains.ForEach(ReserveUnconfirmed);
        }
    }

    // Has the space told when the memory goes; whether it has gone already.
    private bool HoldDevice(ClientMemory memory)
    {
        if (memory.Device is not { } buffer)
        {
            return false;
        }

        buffer.AddUser(this);
        memory.IsRevoked |= buffer.IsRevoked;
        return memory.IsRevoked;
    }
}
