using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// The one audit of everything that a kernel and its IOMMU hold: areas, memory and what is charged for it, pins, reservations,
/// usable IOVAs, one-to-one mappings, domains with what they map, attachments, and who owns groups. A call that failed, or was
/// undone, leaves the same text.
/// </summary>
internal static class RigState
{
    public static string Of(Rig rig)
    {
        StringBuilder text = new();
        KernelAudit audit = rig.KernelSide.Audit;
        text.Append(CultureInfo.InvariantCulture, $"{audit}\nfiles {rig.Files.Live}\n");
        foreach (string space in rig.KernelSide.Spaces.Select(static space => space.Audit.ToString()).Order(StringComparer.Ordinal))
        {
            text.Append(space).Append('\n');
        }

        text.Append("pins").AppendJoin(' ', rig.Memory.Pins).Append('\n');
        foreach (FakeDomain domain in rig.Iommu.Domains)
        {
            text.Append(CultureInfo.InvariantCulture, $"domain {Name(domain)} {domain.Describe()}\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"nested {rig.Iommu.NestedDomains.Count}, virtual {rig.Iommu.VirtualIommus.Count}\n");
        foreach (IommuDevice device in rig.Subsystem.Devices.OrderBy(static device => device.Id.Value))
        {
            object other = new();
            bool isFree = device.Group.ClaimDma(other) == Errno.Success;
            if (isFree)
            {
                device.Group.ReleaseDma(other);
            }

            text.Append(CultureInfo.InvariantCulture, $"{device.Name} in {Name(device.Group.Domain)} hardware {Name(rig.Iommu.DomainOf(device))} free {isFree}\n");
            foreach ((Pasid pasid, Domain domain) in rig.Iommu.PasidsOf(device))
            {
                text.Append(CultureInfo.InvariantCulture, $"  PASID {pasid} {Name(domain)} {Name(device.Group.GetPasidDomain(pasid))}\n");
            }
        }

        return text.ToString();
    }

    /// <summary>Nothing of a user's memory is held any more, and no device can reach what was given back.</summary>
    public static void ShouldHoldNoMemory(Rig rig)
    {
        rig.Memory.Violations.ShouldBeEmpty();
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.KernelSide.Audit.ShouldBe(default);
        rig.KernelSide.Spaces.ShouldBeEmpty();
    }

    private static string Name(Domain domain) => domain is FakeDomain or FakeNestedDomain
        ? RuntimeHelpers.GetHashCode(domain).ToString("x", CultureInfo.InvariantCulture)
        : domain.Kind.ToString();
}
