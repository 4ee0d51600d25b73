using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// An IOASID as the user's descriptors share it: which memory is bound to it, and which groups have its PASID in their IOMMU.
/// It never sees a descriptor, and of a device only what the core knows (S1.11). The two sides come in any order (S1.10): a
/// group that is allowed first gets a PASID whose DMA faults, and follows when memory is bound.
/// </summary>
/// <remarks>
/// The lock is held over calls to the IOMMU, which may wait; nothing that drains takes a lock which is held around it. A
/// binding is wiped when the IOASID has ended and the last group has let go (S1.7).
/// </remarks>
internal sealed class IoasidContext
{
    private readonly IoLock _lock = new();
    private readonly Dictionary<IommuGroup, int> _groups = [];
    private readonly List<IoasidDeviceEntry> _entries = [];
    private IoasidMap? _map;

    /// <summary>The IOASID. Set once, before the context is found.</summary>
    public Ioasid Ioasid { get; set; }

    /// <summary>Assigns memory (S1.6). The map is the context's from success on; after an error it is still the caller's.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> if memory is bound; <see cref="Errno.NoEntry"/> if the IOASID ends; or why a group that
    /// was allowed before cannot follow: then none has.
    /// </returns>
    public Errno Bind(IoasidMap map)
    {
        using (_lock.Acquire())
        {
            if (!Ioasid.IsLive)
            {
                return Errno.NoEntry;
            }

            if (_map is not null)
            {
                return Errno.Busy;
            }

            int reserved = 0;
            Errno error = Errno.Success;
            while (error == Errno.Success && reserved < _entries.Count)
            {
                error = map.Reserve(_entries[reserved].Device, _entries[reserved]);
                reserved += error == Errno.Success ? 1 : 0;
            }

            List<IommuGroup> switched = [];
            foreach (IommuGroup group in _groups.Keys)
            {
                if (error == Errno.Success)
                {
                    IommuDevice device = _entries.Find(entry => entry.Device.Group == group)!.Device;
                    error = map.Attach(device, domain => group.ReplacePasid(Ioasid.Pasid, domain));
                    if (error == Errno.Success)
                    {
                        switched.Add(group);
                    }
                }
            }

            error = error == Errno.Success ? Ioasid.Bind(map) : error;
            if (error == Errno.Success)
            {
                _map = map;
                return Errno.Success;
            }

            foreach (IommuGroup group in switched)
            {
                _ = group.ReplacePasid(Ioasid.Pasid, BlockedDomain.Instance);
            }

            while (--reserved >= 0)
            {
                map.Unreserve(_entries[reserved]);
            }

            return error;
        }
    }

    /// <summary>Takes the memory away: the DMA of every group faults from now on, and its PASID stays allowed.</summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/> if nothing is bound; or the IOMMU's error: then the memory stays bound.</returns>
    public Errno Unbind()
    {
        IoasidMap map;
        using (_lock.Acquire())
        {
            if (_map is null)
            {
                return Errno.NoEntry;
            }

            foreach (IommuGroup group in _groups.Keys)
            {
                // Those that are blocked already stay so; the call can be made again.
                Errno error = group.ReplacePasid(Ioasid.Pasid, BlockedDomain.Instance);
                if (error != Errno.Success)
                {
                    return error;
                }
            }

            map = TakeMap();
        }

        map.Release();
        return Errno.Success;
    }

    /// <summary>Gives the PASID to the device in the IOMMU (S1.5).</summary>
    public Errno Attach(IoasidDeviceEntry entry)
    {
        using (_lock.Acquire())
        {
            if (entry.IsStopped || !Ioasid.IsLive)
            {
                return Errno.NoEntry;
            }

            Errno error = _map?.Reserve(entry.Device, entry) ?? Errno.Success;
            if (error != Errno.Success)
            {
                return error;
            }

            IommuGroup group = entry.Device.Group;
            if (!_groups.TryGetValue(group, out int count))
            {
                error = _map is null
                    ? group.AttachPasid(Ioasid.Pasid, BlockedDomain.Instance)
                    : _map.Attach(entry.Device, domain => group.AttachPasid(Ioasid.Pasid, domain));
                if (error != Errno.Success)
                {
                    _map?.Unreserve(entry);
                    return error;
                }
            }

            _groups[group] = count + 1;
            _entries.Add(entry);
            entry.Device.PasidDevice?.Begin(Ioasid);
            return Errno.Success;
        }
    }

    /// <summary>Takes the PASID away from the device in the IOMMU: when it returns success, no DMA uses it (S1.8).</summary>
    public Errno Detach(IoasidDeviceEntry entry)
    {
        IoasidMap? wiped = null;
        using (_lock.Acquire())
        {
            int index = _entries.IndexOf(entry);
            if (index >= 0)
            {
                IommuGroup group = entry.Device.Group;
                if (_groups[group] == 1)
                {
                    Errno error = group.DetachPasid(Ioasid.Pasid);
                    if (error != Errno.Success)
                    {
                        return error;
                    }

                    _ = _groups.Remove(group);
                }
                else
                {
                    _groups[group]--;
                }

                _map?.Unreserve(entry);
                _entries.RemoveAt(index);
            }

            entry.IsStopped = true;
            wiped = TakeMapAtEnd();
        }

        wiped?.Release();
        return Errno.Success;
    }

    /// <summary>The IOASID has ended: lets go of the memory, unless a group could not be stopped yet; then that does it.</summary>
    public void Wipe()
    {
        IoasidMap? wiped;
        using (_lock.Acquire())
        {
            wiped = TakeMapAtEnd();
        }

        wiped?.Release();
    }

    private IoasidMap? TakeMapAtEnd() => !Ioasid.IsLive && _groups.Count == 0 && _map is not null ? TakeMap() : null;

    private IoasidMap TakeMap()
    {
        IoasidMap map = _map!;
        _map = null;
        foreach (IoasidDeviceEntry entry in _entries)
        {
            map.Unreserve(entry);
        }

        _ = Ioasid.Unbind(map);
        return map;
    }
}
