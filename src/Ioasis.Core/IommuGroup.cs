using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The devices that the IOMMU cannot keep apart: they are attached together, to one domain, and have one owner.
/// </summary>
public sealed class IommuGroup
{
    private readonly IoLock _lock = new();
    private readonly List<IommuDevice> _devices = [];
    private object? _owner;
    private int _ownerCount;

    internal IommuGroup(int id) => Id = id;

    /// <summary>Number of the group, as <c>/sys/kernel/iommu_groups</c> shows it.</summary>
    public int Id { get; }

    /// <summary>What the devices are attached to; <see cref="BlockedDomain"/> to begin with.</summary>
    public Domain Domain { get; private set; } = BlockedDomain.Instance;

    /// <summary>The devices, as they are now.</summary>
    public IReadOnlyList<IommuDevice> Devices
    {
        get
        {
            using (_lock.Acquire())
            {
                return [.. _devices];
            }
        }
    }

    /// <summary>Takes the group's DMA for one owner (a descriptor); the same owner may claim again.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> if another has it.</returns>
    public Errno ClaimDma(object owner)
    {
        ArgumentNullException.ThrowIfNull(owner);
        using (_lock.Acquire())
        {
            if (_owner is not null && !ReferenceEquals(_owner, owner))
            {
                return Errno.Busy;
            }

            _owner = owner;
            _ownerCount++;
            return Errno.Success;
        }
    }

    /// <summary>Gives back one claim of <paramref name="owner"/>.</summary>
    public void ReleaseDma(object owner)
    {
        using (_lock.Acquire())
        {
            if (ReferenceEquals(_owner, owner) && --_ownerCount == 0)
            {
                _owner = null;
            }
        }
    }

    /// <summary>
    /// Attaches every device of the group to <paramref name="next"/>, from whatever they are attached to. All or nothing:
    /// when one cannot be switched, those before it are switched back (invariant 3).
    /// </summary>
    public Errno Attach(Domain next)
    {
        ArgumentNullException.ThrowIfNull(next);
        using (_lock.Acquire())
        {
            Domain current = Domain;
            if (ReferenceEquals(current, next))
            {
                return Errno.Success;
            }

            for (int i = 0; i < _devices.Count; i++)
            {
                Errno error = _devices[i].Iommu.SetDomain(_devices[i], Pasid.None, next, current);
                if (error != Errno.Success)
                {
                    while (--i >= 0)
                    {
                        _ = _devices[i].Iommu.SetDomain(_devices[i], Pasid.None, current, next);
                    }

                    return error;
                }
            }

            Domain = next;
            return Errno.Success;
        }
    }

    /// <summary>Attaches the group to the blocked domain.</summary>
    public Errno Detach() => Attach(BlockedDomain.Instance);

    internal Errno Add(IommuDevice device)
    {
        using (_lock.Acquire())
        {
            Errno error = device.Iommu.ProbeDevice(device);
            if (error != Errno.Success)
            {
                return error;
            }

            if (!ReferenceEquals(Domain, BlockedDomain.Instance))
            {
                error = device.Iommu.SetDomain(device, Pasid.None, Domain, BlockedDomain.Instance);
                if (error != Errno.Success)
                {
                    device.Iommu.ReleaseDevice(device);
                    return error;
                }
            }

            _devices.Add(device);
            return Errno.Success;
        }
    }

    internal bool Remove(IommuDevice device)
    {
        using (_lock.Acquire())
        {
            if (!_devices.Remove(device))
            {
                return false;
            }

            device.Iommu.ReleaseDevice(device);
            return true;
        }
    }
}
