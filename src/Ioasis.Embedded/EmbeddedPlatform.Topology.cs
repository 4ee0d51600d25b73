using System.Globalization;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <content>Machines that are described by their PCI topology.</content>
public sealed partial class EmbeddedPlatform
{
    /// <summary>
    /// Adds every function of a topology, in the groups that it makes of them, and gives the groups default domains. Requests of a
    /// function behind a bridge come with the name that the bridge gives them.
    /// </summary>
    /// <param name="topology">The machine.</param>
    /// <param name="policy">Chooses the default domains; null for none, so that every DMA faults until somebody attaches.</param>
    /// <param name="properties">
    /// What a function can do beside; null for nothing. Group, requester and trust are the topology's to say.
    /// </param>
    /// <param name="devices">The model of a device in the place of a function; null for none.</param>
    /// <returns>The functions, by their numbers.</returns>
    /// <exception cref="IommuException">
    /// The core or the driver refused a function, or the policy a group: those before it have been added.
    /// </exception>
    public IReadOnlyDictionary<DeviceId, EmbeddedEndpoint> AddTopology(
        PcieTopology topology,
        DefaultDomainPolicy? policy = null,
        Func<PcieFunction, EmbeddedEndpointOptions>? properties = null,
        Func<PcieFunction, PciDevice?>? devices = null)
    {
        ArgumentNullException.ThrowIfNull(topology);
        Dictionary<DeviceId, EmbeddedEndpoint> endpoints = [];
        foreach (IReadOnlyList<PcieFunction> members in PcieGroups.Compute(topology))
        {
            int? group = null;
            EmbeddedIommu? iommu = null;
            HashSet<DeviceId> aliases = [];
            foreach (PcieFunction function in members)
            {
                EmbeddedEndpointOptions options = properties?.Invoke(function) ?? new();
                options = options with
                {
                    GroupId = group,
                    RequesterId = topology.RequesterId(function),
                    IsUntrusted = topology.IsUntrusted(function),
                };
                EmbeddedEndpoint endpoint = devices?.Invoke(function) is { } device
                    ? AddDevice(device, function.Id, options)
                    : AddEndpoint(function.Id, options);
                endpoints.Add(function.Id, endpoint);
                group = endpoint.Device.Group.Id;
                iommu = endpoint.Iommu;
                aliases.UnionWith(topology.RequesterIds(function));
            }

            // Names that no function has by itself: the IOMMU must know them too.
            foreach (DeviceId alias in aliases.Where(alias => !topology.TryGet(alias, out _)).OrderBy(static alias => alias.Value))
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"{alias}-alias");
                Errno error = Subsystem.TryAddDevice(iommu!.Driver, alias, name, group, new(), out _);
                if (error != Errno.Success)
                {
                    throw Refused(alias, iommu, error);
                }
            }

            if (policy is not null)
            {
                IommuDevice first = endpoints[members[0].Id].Device;
                string name = string.Create(CultureInfo.InvariantCulture, $"the default domain of group {group}");
                Check(SetDefaultDomainErrno(first, policy), name);
            }
        }

        return endpoints;
    }

    private static void Check(Errno error, string what)
    {
        if (error != Errno.Success)
        {
            throw new IommuException(error, "add a topology", what);
        }
    }

    private Errno SetDefaultDomainErrno(IommuDevice device, DefaultDomainPolicy policy)
    {
        Errno error = policy.Choose([.. device.Group.Devices], out DefaultDomainKind kind);
        if (error != Errno.Success)
        {
            return error;
        }

        switch (kind)
        {
            case DefaultDomainKind.Blocked:
                return Errno.Success;
            case DefaultDomainKind.Identity:
                return device.Group.SetDefaultDomain(IdentityDomain.Instance);
            default:
                lock (_dmaLock)
                {
                    return SetDmaDomainErrno(device, kind == DefaultDomainKind.Strict ? DmaMode.Strict : DmaMode.Lazy);
                }
        }
    }
}
