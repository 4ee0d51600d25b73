using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What a group is attached to before anybody claims it.</summary>
public enum DefaultDomainKind
{
    /// <summary>Nothing: every DMA faults.</summary>
    Blocked,

    /// <summary>Addresses pass unchanged.</summary>
    Identity,

    /// <summary>Drivers map; unmaps invalidate at once.</summary>
    Strict,

    /// <summary>Drivers map; unmaps invalidate later, many at once.</summary>
    Lazy,
}

/// <summary>
/// Chooses the default domains of groups: from what the administrator wants for all, from what single devices cannot do
/// without, and from whom one trusts.
/// </summary>
public sealed record DefaultDomainPolicy
{
    /// <summary>For groups of which nothing else is known.</summary>
    public DefaultDomainKind Default { get; init; } = DefaultDomainKind.Lazy;

    /// <summary>What a device cannot do without, by its name; null for the devices that take anything.</summary>
    internal Func<IommuDevice, DefaultDomainKind?> RequiredBy { get; init; } = static _ => null;

    /// <summary>Chooses for a group.</summary>
    /// <param name="devices">Its devices.</param>
    /// <param name="kind">What it shall have.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if a device that is not trusted requires identity, or if one with direct
    /// regions shall be blocked: then the group must not be used.
    /// </returns>
    /// <remarks>
    /// Devices that require different things share what is wanted for all. Whoever is not trusted makes the whole group
    /// strict, unless it is blocked, for its neighbours cannot be kept from it.
    /// </remarks>
    internal Errno Choose(IReadOnlyCollection<IommuDevice> devices, out DefaultDomainKind kind)
    {
        ArgumentNullException.ThrowIfNull(devices);
        kind = Default;
        DefaultDomainKind? required = null;
        bool disagree = false;
        foreach (IommuDevice device in devices)
        {
            if (RequiredBy(device) is { } wanted)
            {
                if (device.IsUntrusted && wanted == DefaultDomainKind.Identity)
                {
                    kind = DefaultDomainKind.Blocked;
                    return Errno.InvalidArgument;
                }

                disagree |= required is { } other && other != wanted;
                required = wanted;
            }
        }

        if (required is { } agreed && !disagree)
        {
            kind = agreed;
        }

        if (devices.Any(static device => device.IsUntrusted) && kind != DefaultDomainKind.Blocked)
        {
            kind = DefaultDomainKind.Strict;
        }

        return kind == DefaultDomainKind.Blocked && devices.Any(static device => device.RequiresDirectMappings)
            ? Errno.InvalidArgument
            : Errno.Success;
    }
}
