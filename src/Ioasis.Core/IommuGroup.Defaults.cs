using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>
/// The default domain: what the group is attached to while nobody has claimed it. Without one it is the blocked domain.
/// </content>
internal sealed partial class IommuGroup
{
    private int _driverUses;

    /// <summary>What the group is attached to while nobody has claimed it.</summary>
    public Domain DefaultDomain { get; private set; } = BlockedDomain.Instance;

    /// <summary>The default domain as drivers map in it; null if it is blocked or identity.</summary>
    public DmaDomain? DmaDomain { get; private set; }

    /// <summary>Whether a device of the group needs direct mappings at all times.</summary>
    public bool RequiresDirectMappings
    {
        get
        {
            using (_lock.Acquire())
            {
                return _devices.Exists(static device => device.RequiresDirectMappings);
            }
        }
    }

    /// <summary>Sets a default domain without translation by drivers: identity or blocked. See <see cref="SetDefaultDomain(DmaDomain)"/>.</summary>
    public Errno SetDefaultDomain(Domain domain)
    {
        ArgumentNullException.ThrowIfNull(domain);
        return domain.Kind is DomainKind.Identity or DomainKind.Blocked ? SetDefault(domain, null) : Errno.InvalidArgument;
    }

    /// <summary>
    /// Sets the default domain and attaches it. The regions that devices need or must not be given are seen to first, also for
    /// devices that join the group later. All or nothing.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> if the group is claimed or used by a driver; <see cref="Errno.InvalidArgument"/> if a direct
    /// region cannot be mapped; or the driver's error.
    /// </returns>
    public Errno SetDefaultDomain(DmaDomain domain)
    {
        ArgumentNullException.ThrowIfNull(domain);
        return SetDefault(domain.Paging, domain);
    }

    /// <summary>A driver starts to map for a device of the group: nobody can claim the group meanwhile.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> if the group is claimed; <see cref="Errno.NotSupported"/> if the default domain is blocked.
    /// </returns>
    internal Errno UseDefaultDomain(out DmaDomain? domain)
    {
        using (_lock.Acquire())
        {
            domain = DmaDomain;
            if (_owner is not null || !ReferenceEquals(Domain, DefaultDomain))
            {
                return Errno.Busy;
            }

            if (DefaultDomain.Kind == DomainKind.Blocked)
            {
                return Errno.NotSupported;
            }

            _driverUses++;
            return Errno.Success;
        }
    }

    /// <summary>Ends one <see cref="UseDefaultDomain"/>.</summary>
    internal void UnuseDefaultDomain()
    {
        using (_lock.Acquire())
        {
            _driverUses--;
        }
    }

    private Errno SetDefault(Domain domain, DmaDomain? dma)
    {
        using (_lock.Acquire())
        {
            if (_owner is not null || _driverUses > 0)
            {
                return Errno.Busy;
            }

            (Domain oldDefault, DmaDomain? oldDma) = (DefaultDomain, DmaDomain);
            (DefaultDomain, DmaDomain) = (domain, dma);
            Errno error = AttachLocked(domain);
            if (error != Errno.Success)
            {
                (DefaultDomain, DmaDomain) = (oldDefault, oldDma);
            }

            return error;
        }
    }

    private Errno AttachLocked(Domain next)
    {
        foreach (IommuDevice device in _devices)
        {
            Errno prepared = Prepare(next, device);
            if (prepared != Errno.Success)
            {
                return prepared;
            }
        }

        Errno error = Switch(Pasid.None, next, Domain);
        if (error == Errno.Success)
        {
            Domain = next;
        }

        return error;
    }

    // Makes a domain fit for a device, or says that it cannot be. While there is no default domain, blocked is where every group
    // starts and where a user's detach leads.
    private Errno Prepare(Domain next, IommuDevice device)
    {
        switch (next)
        {
            case PagingDomain when DmaDomain is { } dma && ReferenceEquals(next, dma.Paging):
                return dma.Prepare(device);
            case PagingDomain paging:
                return device.RequiresDirectMappings ? DirectRegions.Map(paging, device, withRelaxable: false, out _) : Errno.Success;
            case { Kind: DomainKind.Identity }:
                return Errno.Success;
            case { Kind: DomainKind.Blocked } when DefaultDomain.Kind == DomainKind.Blocked && DmaDomain is null:
                return Errno.Success;
            default:
                return device.RequiresDirectMappings ? Errno.InvalidArgument : Errno.Success;
        }
    }

    private Errno LeaveDefaultDomain() =>
        DefaultDomain.Kind == DomainKind.Blocked || !ReferenceEquals(Domain, DefaultDomain)
            ? Errno.Success
            : AttachLocked(BlockedDomain.Instance);

    // If it fails, the group stays as its owner left it, which let nothing through that was not his.
    private void ReturnToDefaultDomain()
    {
        if (DefaultDomain.Kind != DomainKind.Blocked)
        {
            _ = AttachLocked(DefaultDomain);
        }
    }
}
