using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The devices that the IOMMU cannot keep apart: they are attached together, to one domain, and have one owner.
/// </summary>
/// <remarks>
/// What happens to its DMA when nobody has claimed it is the default domain's business: see IommuGroup.Defaults.cs.
/// </remarks>
internal sealed partial class IommuGroup
{
    private readonly IoLock _lock = new();
    private readonly List<IommuDevice> _devices = [];
    private readonly Dictionary<uint, Domain> _pasids = [];
    private readonly Dictionary<(IommuDevice Device, Pasid Pasid), Domain> _strays = [];
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

    /// <summary>
    /// Takes the group's DMA for one owner (a descriptor); the same owner may claim again. A default domain gives way to the
    /// blocked one until the last claim is given back.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> if another has it, or a driver uses a device; <see cref="Errno.InvalidArgument"/> if the default
    /// domain holds mappings that a device needs at all times; or the driver's error.
    /// </returns>
    public Errno ClaimDma(object owner)
    {
        ArgumentNullException.ThrowIfNull(owner);
        using (_lock.Acquire())
        {
            if ((_owner is not null && !ReferenceEquals(_owner, owner)) || _driverUses > 0)
            {
                return Errno.Busy;
            }

            Errno error = _owner is null ? LeaveDefaultDomain() : Errno.Success;
            if (error != Errno.Success)
            {
                return error;
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
                ReturnToDefaultDomain();
            }
        }
    }

    /// <summary>
    /// Attaches every device of the group to <paramref name="next"/>, from whatever they are attached to. All or nothing:
    /// when one cannot be switched, those before it are switched back (invariant 3). Direct regions of the devices are mapped in a
    /// paging domain before it is attached, unless they are there already.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if a device needs direct mappings and the domain cannot have them; or the driver's
    /// error.
    /// </returns>
    public Errno Attach(Domain next)
    {
        ArgumentNullException.ThrowIfNull(next);
        using (_lock.Acquire())
        {
            return AttachLocked(next);
        }
    }

    /// <summary>Attaches the group to the blocked domain.</summary>
    public Errno Detach() => Attach(BlockedDomain.Instance);

    /// <summary>Attaches one PASID of every device of the group, which is attached to nothing (S4.17). All or nothing.</summary>
    /// <param name="pasid">1 to 2^20-1.</param>
    /// <param name="next">What to attach to.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if the PASID is 0 or more than a device or its IOMMU has;
    /// <see cref="Errno.Busy"/> if it is attached; <see cref="Errno.NotSupported"/> if a device has no PASIDs; others.
    /// </returns>
    public Errno AttachPasid(Pasid pasid, Domain next)
    {
        ArgumentNullException.ThrowIfNull(next);
        if (!pasid.IsPresent)
        {
            return Errno.InvalidArgument;
        }

        using (_lock.Acquire())
        {
            if (_pasids.ContainsKey(pasid.Value))
            {
                return Errno.Busy;
            }

            Errno error = Switch(pasid, next, BlockedDomain.Instance);
            if (error == Errno.Success)
            {
                _pasids.Add(pasid.Value, next);
            }

            return error;
        }
    }

    /// <summary>Switches a PASID that is attached to something else. All or nothing.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if the PASID is not attached; or the driver's error.</returns>
    public Errno ReplacePasid(Pasid pasid, Domain next)
    {
        ArgumentNullException.ThrowIfNull(next);
        using (_lock.Acquire())
        {
            if (!_pasids.TryGetValue(pasid.Value, out Domain? current))
            {
                return Errno.InvalidArgument;
            }

            Errno error = Switch(pasid, next, current);
            if (error == Errno.Success)
            {
                _pasids[pasid.Value] = next;
            }

            return error;
        }
    }

    /// <summary>Detaches a PASID: its DMA faults. Harmless if it is not attached.</summary>
    /// <returns>Success, or the driver's error: then the PASID is still attached.</returns>
    public Errno DetachPasid(Pasid pasid)
    {
        using (_lock.Acquire())
        {
            if (!_pasids.TryGetValue(pasid.Value, out Domain? current))
            {
                return Errno.Success;
            }

            Errno error = Switch(pasid, BlockedDomain.Instance, current);
            if (error == Errno.Success)
            {
                _ = _pasids.Remove(pasid.Value);
            }

            return error;
        }
    }

    /// <summary>What a PASID is attached to; <see cref="BlockedDomain"/> if it is not.</summary>
    public Domain GetPasidDomain(Pasid pasid)
    {
        using (_lock.Acquire())
        {
            return _pasids.GetValueOrDefault(pasid.Value, BlockedDomain.Instance);
        }
    }

    internal Errno Add(IommuDevice device)
    {
        using (_lock.Acquire())
        {
            // What it must reach is mapped before it can reach anything.
            Errno error = Prepare(Domain, device);
            error = error == Errno.Success ? device.Iommu.ProbeDevice(device) : error;
            if (error != Errno.Success)
            {
                return error;
            }

            // What the group is attached to holds for the newcomer too; its release undoes whatever succeeded.
            error = SwitchOne(device, Pasid.None, Domain, BlockedDomain.Instance);
            foreach ((uint pasid, Domain domain) in _pasids)
            {
                error = error == Errno.Success ? SwitchOne(device, new(pasid), domain, BlockedDomain.Instance) : error;
            }

            if (error != Errno.Success)
            {
                device.Iommu.RemoveDevice(device);
                return error;
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

            device.Iommu.RemoveDevice(device);
            ForgetStrays(device);
            return true;
        }
    }

    // What a device is attached to by itself, where the way back from an attach that failed was not confirmed.
    private Errno SwitchOne(IommuDevice device, Pasid pasid, Domain next, Domain current)
    {
        bool isStray = _strays.Remove((device, pasid), out Domain? actual);
        current = actual ?? current;
        Errno error = ReferenceEquals(next, current) ? Errno.Success : device.Iommu.SwitchDomain(device, pasid, next, current);
        if (isStray && error != Errno.Success)
        {
            _strays.Add((device, pasid), current);
        }
        else if (isStray)
        {
            current.AddStray(-1);
        }

        return error;
    }

    private Errno Switch(Pasid pasid, Domain next, Domain current)
    {
        for (int i = 0; i < _devices.Count; i++)
        {
            Errno error = SwitchOne(_devices[i], pasid, next, current);
            if (error != Errno.Success)
            {
                while (--i >= 0)
                {
                    GoBack(_devices[i], pasid, current, next);
                }

                return error;
            }
        }

        return Errno.Success;
    }

    // If the IOMMU refuses, nothing can make the device leave the domain: what is mapped there must stay.
    private void GoBack(IommuDevice device, Pasid pasid, Domain current, Domain next)
    {
        if (SwitchOne(device, pasid, current, next) != Errno.Success && _strays.TryAdd((device, pasid), next))
        {
            next.AddStray(1);
        }
    }

    private void ForgetStrays(IommuDevice device)
    {
        foreach ((IommuDevice Device, Pasid Pasid) key in _strays.Keys.Where(key => key.Device == device).ToArray())
        {
            _ = _strays.Remove(key, out Domain? domain);
            domain!.AddStray(-1);
        }
    }
}
