using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The functions of a machine's PCI buses and how they hang together: what groups are made of. It is a description that
/// does not change; it knows no IOMMU and no domain.
/// </summary>
public sealed class PcieTopology
{
    private readonly Dictionary<DeviceId, PcieFunction> _byId = [];
    private readonly Dictionary<ulong, PcieFunction> _bridgeOfBus = [];
    private readonly Dictionary<ulong, List<PcieFunction>> _bus = [];

    private PcieTopology(IReadOnlyList<PcieFunction> functions) => Functions = functions;

    /// <summary>All functions, in the order of their numbers.</summary>
    public IReadOnlyList<PcieFunction> Functions { get; }

    /// <summary>Puts functions together.</summary>
    /// <param name="functions">In any order.</param>
    /// <param name="topology">The topology.</param>
    /// <param name="error">What is wrong with it, or null.</param>
    /// <returns>Whether they make a forest: every number once, every bus behind one bridge at most, no bridge behind itself.</returns>
    public static bool TryCreate(IEnumerable<PcieFunction> functions, out PcieTopology? topology, out string? error)
    {
        ArgumentNullException.ThrowIfNull(functions);
        PcieFunction[] sorted = [.. functions.OrderBy(static function => function.Id.Value)];
        PcieTopology made = new(sorted);
        topology = null;
        error = null;
        foreach (PcieFunction function in sorted)
        {
            if (!made._byId.TryAdd(function.Id, function))
            {
                error = $"{function.Id} is there twice.";
                return false;
            }

            if (function.IsBridge != (function.SecondaryBus is not null) || function.SecondaryBus is < 0 or > 0xff)
            {
                error = $"{function.Id}: a bridge has a secondary bus, 0 to 255, and nothing else has.";
                return false;
            }

            if (function.SecondaryBusKey is { } bus && !made._bridgeOfBus.TryAdd(bus, function))
            {
                error = $"{function.Id}: its secondary bus is behind {made._bridgeOfBus[bus].Id} already.";
                return false;
            }

            if (!made._bus.TryGetValue(function.BusKey, out List<PcieFunction>? members))
            {
                made._bus.Add(function.BusKey, members = []);
            }

            members.Add(function);
        }

        foreach (PcieFunction function in sorted)
        {
            int depth = 0;
            for (PcieFunction? above = made.BridgeAbove(function); above is not null; above = made.BridgeAbove(above))
            {
                if (++depth > made._bridgeOfBus.Count)
                {
                    error = $"{function.Id} is behind itself.";
                    return false;
                }
            }
        }

        topology = made;
        return true;
    }

    /// <summary>Finds a function.</summary>
    public bool TryGet(DeviceId id, out PcieFunction? function) => _byId.TryGetValue(id, out function);

    /// <summary>The bridge or port whose secondary bus a function is on; null on a root bus.</summary>
    public PcieFunction? BridgeAbove(PcieFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        return _bridgeOfBus.GetValueOrDefault(function.BusKey);
    }

    /// <summary>The functions on the bus behind a bridge or port.</summary>
    public IReadOnlyList<PcieFunction> Behind(PcieFunction bridge)
    {
        ArgumentNullException.ThrowIfNull(bridge);
        return bridge.SecondaryBusKey is { } bus && _bus.TryGetValue(bus, out List<PcieFunction>? members) ? members : [];
    }

    /// <summary>The other functions on the same bus.</summary>
    public IEnumerable<PcieFunction> Neighbours(PcieFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        return _bus[function.BusKey].Where(other => !ReferenceEquals(other, function));
    }

    /// <summary>The other functions of the same device.</summary>
    public IEnumerable<PcieFunction> Siblings(PcieFunction function) =>
        Neighbours(function).Where(other => other.Id.Device == function.Id.Device);

    /// <summary>Whether the device of a function has, or may have, more functions.</summary>
    public bool IsMultiFunction(PcieFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        return function.IsMultiFunction || function.Id.Function != 0 || Siblings(function).Any();
    }

    /// <summary>Whether a function is behind a port that faces the outside.</summary>
    public bool IsUntrusted(PcieFunction function)
    {
        for (PcieFunction? above = BridgeAbove(function); above is not null; above = BridgeAbove(above))
        {
            if (above.IsExternalFacing)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// The requester IDs with which requests of a function may come to the IOMMU: its own, those that a defect lets it use, and
    /// those that bridges on the way put in their place.
    /// </summary>
    /// <remarks>
    /// A bridge from PCI Express sends for the devices behind it, which have no requester IDs on their bus, with its secondary bus
    /// number, device 0, function 0 (PCI Express to PCI/PCI-X Bridge Specification, "Requester ID"); it may leave the ID of a
    /// PCI-X device as it is. A bridge to PCI Express, and one between conventional buses, sends under its own name.
    /// </remarks>
    public IReadOnlyList<DeviceId> RequesterIds(PcieFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        List<DeviceId> ids = [function.Id];
        Add(ids, function);
        for (PcieFunction? above = BridgeAbove(function); above is not null; above = BridgeAbove(above))
        {
            switch (above.Kind)
            {
                case PcieFunctionKind.PciePciBridge:
                case PcieFunctionKind.ConventionalBridge when above.AliasesSecondaryBus:
                    Put(ids, DeviceId.FromPci(above.Id.Domain, above.SecondaryBus!.Value, 0, 0));
                    break;
                case PcieFunctionKind.PciPcieBridge or PcieFunctionKind.ConventionalBridge:
                    Put(ids, above.Id);
                    Add(ids, above);
                    break;
                default:
                    break;
            }
        }

        return ids;
    }

    /// <summary>
    /// The requester ID with which a function's requests come to the IOMMU: that of the last bridge on the way that puts its own in
    /// place, else the function's.
    /// </summary>
    public DeviceId RequesterId(PcieFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        DeviceId id = function.Id;
        for (PcieFunction? above = BridgeAbove(function); above is not null; above = BridgeAbove(above))
        {
            id = above.Kind switch
            {
                PcieFunctionKind.PciePciBridge => DeviceId.FromPci(above.Id.Domain, above.SecondaryBus!.Value, 0, 0),
                PcieFunctionKind.ConventionalBridge when above.AliasesSecondaryBus =>
                    DeviceId.FromPci(above.Id.Domain, above.SecondaryBus!.Value, 0, 0),
                PcieFunctionKind.PciPcieBridge or PcieFunctionKind.ConventionalBridge => above.Id,
                _ => id,
            };
        }

        return id;
    }

    private static void Add(List<DeviceId> ids, PcieFunction function)
    {
        foreach (byte alias in function.DmaAliases)
        {
            Put(ids, new((function.Id.Value & ~0xfful) | alias));
        }
    }

    private static void Put(List<DeviceId> ids, DeviceId id)
    {
        if (!ids.Contains(id))
        {
            ids.Add(id);
        }
    }
}
