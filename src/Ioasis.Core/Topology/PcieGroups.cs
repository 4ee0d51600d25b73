using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// Divides the functions of a topology into groups: the smallest sets such that no function of one can reach a function of
/// another without the IOMMU, and no two of different sets can be taken for each other by the IOMMU.
/// </summary>
/// <remarks>
/// <para>What PCI Express says, in our words. Requests are routed by address, wherever a port or a multi-function device finds the
/// target closer than the root complex. Only Access Control Services (section 6.12) make them go up to where the IOMMU is:
/// <i>request redirect</i> in the port or function where they would turn, and <i>upstream forwarding</i> in the ports above,
/// which would otherwise send down again what came up redirected. <i>Completion redirect</i> does the same for answers, and
/// <i>source validation</i> keeps a function from borrowing a name. A control that a capability does not offer is not needed there.
/// Going down, nothing checks anything. On a conventional bus everybody hears everybody.</para>
/// <para>Two assumptions, as all systems make them: the root complex sends requests between its devices through the IOMMU, and
/// device 0's functions are not merely unlucky neighbours of device 1's: on a root bus only functions of one device are peers.
/// A device of one function has no peers inside.</para>
/// <para>Where functions of a device differ, one that isolates and one that does not are kept together, for the second
/// reaches the first; likewise the ports of one switch. Linux looks at each from its own side and may keep them apart.</para>
/// </remarks>
internal static class PcieGroups
{
    /// <summary>Whether peers cannot be reached through this function, or from it, without the IOMMU.</summary>
    public static bool Isolates(PcieTopology topology, PcieFunction function)
    {
        ArgumentNullException.ThrowIfNull(topology);
        ArgumentNullException.ThrowIfNull(function);
        return function.Kind switch
        {
            PcieFunctionKind.RootPort or PcieFunctionKind.DownstreamPort => HasAcs(function),
            PcieFunctionKind.Endpoint or PcieFunctionKind.IntegratedEndpoint or PcieFunctionKind.UpstreamPort =>
                !topology.IsMultiFunction(function) || HasAcs(function),
            PcieFunctionKind.ConventionalDevice => !topology.Siblings(function).Any(),
            _ => false,
        };
    }

    /// <summary>The groups, each sorted, in the order of their first functions.</summary>
    public static IReadOnlyList<IReadOnlyList<PcieFunction>> Compute(PcieTopology topology)
    {
        ArgumentNullException.ThrowIfNull(topology);
        Dictionary<PcieFunction, int> numbers = new(ReferenceEqualityComparer.Instance);
        foreach (PcieFunction function in topology.Functions)
        {
            numbers.Add(function, numbers.Count);
        }

        Union union = new(numbers.Count);
        Dictionary<ulong, int> firstWithRequester = [];
        foreach (PcieFunction function in topology.Functions)
        {
            int number = numbers[function];
            if (!Isolates(topology, function))
            {
                // What comes out of it, or up through it, turns to the other functions of its device and to what is below those.
                foreach (PcieFunction peer in PeersOf(topology, function))
                {
                    _ = union.Join(number, numbers[peer]);
                    JoinBelow(topology, peer, number, numbers, union);
                }

                // What comes up through it turns down again.
                JoinBelow(topology, function, number, numbers, union);

                // Nothing redirects what goes to the port of the switch itself.
                if (function.Kind == PcieFunctionKind.DownstreamPort && topology.BridgeAbove(function) is { } upstream)
                {
                    _ = union.Join(number, numbers[upstream]);
                }
            }

            foreach (DeviceId requester in topology.RequesterIds(function))
            {
                if (!firstWithRequester.TryAdd(requester.Value, number))
                {
                    _ = union.Join(number, firstWithRequester[requester.Value]);
                }
            }
        }

        return [.. topology.Functions
            .GroupBy(function => union.Find(numbers[function]))
            .Select(static group => (IReadOnlyList<PcieFunction>)[.. group])];
    }

    private static bool HasAcs(PcieFunction function) =>
        function.AcsSupported is { } supported
        && (function.AcsEnabled & AcsControls.Isolation & supported) == (AcsControls.Isolation & supported);

    // Where a request that nothing redirects can turn to: ports of a switch are peers whatever their device numbers.
    private static IEnumerable<PcieFunction> PeersOf(PcieTopology topology, PcieFunction function) =>
        function.Kind == PcieFunctionKind.DownstreamPort ? topology.Neighbours(function) : topology.Siblings(function);

    private static void JoinBelow(
        PcieTopology topology, PcieFunction bridge, int number, Dictionary<PcieFunction, int> numbers, Union union)
    {
        foreach (PcieFunction function in topology.Behind(bridge))
        {
            _ = union.Join(number, numbers[function]);
            JoinBelow(topology, function, number, numbers, union);
        }
    }

    private sealed class Union(int count)
    {
        private readonly int[] _parents = [.. Enumerable.Range(0, count)];

        public int Find(int item)
        {
            while (_parents[item] != item)
            {
                _parents[item] = _parents[_parents[item]];
                item = _parents[item];
            }

            return item;
        }

        public bool Join(int left, int right)
        {
            (left, right) = (Find(left), Find(right));
            _parents[Math.Max(left, right)] = Math.Min(left, right);
            return left != right;
        }
    }
}
