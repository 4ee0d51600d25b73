using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Core.Tests.Topology;

/// <summary>
/// What groups mean, said as slowly as can be: every request of every function to every other is followed hop by hop, with the
/// names that it bears when it comes to the IOMMU; who can reach another without it, or be taken for him, is in his group.
/// Shares no code with what it checks.
/// </summary>
internal sealed class Fabric(IReadOnlyList<PcieFunction> all)
{
    public List<List<DeviceId>> Groups()
    {
        int count = all.Count;
        bool[,] together = new bool[count, count];
        List<HashSet<ulong>> names = [.. all.Select(NamesOf)];
        for (int i = 0; i < count; i++)
        {
            for (int j = 0; j < count; j++)
            {
                together[i, j] = i == j || together[i, j] || Reaches(all[i], all[j]) || names[i].Overlaps(names[j]);
                together[j, i] |= together[i, j];
            }
        }

        for (int k = 0; k < count; k++)
        {
            for (int i = 0; i < count; i++)
            {
                for (int j = 0; j < count; j++)
                {
                    together[i, j] |= together[i, k] && together[k, j];
                }
            }
        }

        List<List<DeviceId>> groups = [];
        HashSet<int> seen = [];
        for (int i = 0; i < count; i++)
        {
            if (seen.Contains(i))
            {
                continue;
            }

            List<DeviceId> group = [];
            for (int j = 0; j < count; j++)
            {
                if (together[i, j])
                {
                    seen.Add(j);
                    group.Add(all[j].Id);
                }
            }

            groups.Add(group);
        }

        return groups;
    }

    private PcieFunction? Parent(PcieFunction function) =>
        all.FirstOrDefault(f => f.SecondaryBus == function.Id.Bus && f.Id.Segment == function.Id.Segment);

    private bool IsAtOrBelow(PcieFunction target, PcieFunction top)
    {
        for (PcieFunction? at = target; at is not null; at = Parent(at))
        {
            if (at == top)
            {
                return true;
            }
        }

        return false;
    }

    private List<PcieFunction> SameDevice(PcieFunction function) =>
        [.. all.Where(f => f != function && f.Id.Value >> 3 == function.Id.Value >> 3)];

    // A request of one function to memory of another.
    private bool Reaches(PcieFunction source, PcieFunction target)
    {
        if (source == target)
        {
            return false;
        }

        // Inside the device.
        bool multi = SameDevice(source).Count > 0 || source.IsMultiFunction || source.Id.Function != 0;
        bool express = source.Kind is not (PcieFunctionKind.ConventionalDevice or PcieFunctionKind.ConventionalBridge
            or PcieFunctionKind.PciePciBridge or PcieFunctionKind.PciPcieBridge);
        if (multi && !(express && Redirects(source)) && SameDevice(source).Exists(f => IsAtOrBelow(target, f)))
        {
            return true;
        }

        // A port of a switch is on the bus inside, where the others are.
        if (source.Kind == PcieFunctionKind.DownstreamPort && !Redirects(source) && TurnsInsideSwitch(source, target))
        {
            return true;
        }

        for (PcieFunction? port = Parent(source); port is not null; port = Parent(port))
        {
            switch (port.Kind)
            {
                case PcieFunctionKind.PciePciBridge or PcieFunctionKind.ConventionalBridge or PcieFunctionKind.PciPcieBridge:
                    // Everybody on the bus hears it, the bridge included; then it is the bridge's.
                    if (IsAtOrBelow(target, port) || SameDevice(port).Exists(f => IsAtOrBelow(target, f)))
                    {
                        return true;
                    }

                    break;
                case PcieFunctionKind.DownstreamPort:
                    if (!Redirects(port) && (IsAtOrBelow(target, port) || TurnsInsideSwitch(port, target)))
                    {
                        return true;
                    }

                    break;
                case PcieFunctionKind.RootPort:
                    if (!Redirects(port)
                        && (IsAtOrBelow(target, port) || SameDevice(port).Exists(f => IsAtOrBelow(target, f))))
                    {
                        return true;
                    }

                    break;
                default:
                    bool multiUpstream = SameDevice(port).Count > 0 || port.IsMultiFunction || port.Id.Function != 0;
                    if (multiUpstream && !Redirects(port)
                        && (IsAtOrBelow(target, port) || SameDevice(port).Exists(f => IsAtOrBelow(target, f))))
                    {
                        return true;
                    }

                    break;
            }
        }

        return false;
    }

    private bool TurnsInsideSwitch(PcieFunction port, PcieFunction target) =>
        target == Parent(port)
        || all.Any(f => f != port && f.Id.Value >> 8 == port.Id.Value >> 8 && IsAtOrBelow(target, f));

    // Every control that keeps requests from turning, as far as the hardware has it, is on.
    private static bool Redirects(PcieFunction function)
    {
        if (function.AcsSupported is not { } has)
        {
            return false;
        }

        AcsControls[] needed =
        [
            AcsControls.SourceValidation, AcsControls.RequestRedirect, AcsControls.CompletionRedirect, AcsControls.UpstreamForwarding,
        ];
        return Array.TrueForAll(needed, control => (has & control) == 0 || (function.AcsEnabled & control) != 0);
    }

    private HashSet<ulong> NamesOf(PcieFunction function)
    {
        HashSet<ulong> names = [function.Id.Value, .. function.DmaAliases.Select(alias => (function.Id.Value & ~0xfful) + alias)];
        for (PcieFunction? at = Parent(function); at is not null; at = Parent(at))
        {
            bool renames = at.Kind == PcieFunctionKind.PciePciBridge
                || (at.Kind == PcieFunctionKind.ConventionalBridge && at.AliasesSecondaryBus);
            if (renames)
            {
                names.Add(((ulong)at.Id.Domain << 16) + ((ulong)at.SecondaryBus!.Value << 8));
            }
            else if (at.Kind is PcieFunctionKind.ConventionalBridge or PcieFunctionKind.PciPcieBridge)
            {
                names.UnionWith([at.Id.Value, .. at.DmaAliases.Select(alias => (at.Id.Value & ~0xfful) + alias)]);
            }
        }

        return names;
    }
}
