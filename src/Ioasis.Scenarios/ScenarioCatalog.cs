using Ioasis.Core;
using Ioasis.Scenarios.Drivers;
using Ioasis.Testing;

namespace Ioasis.Scenarios;

/// <summary>A scenario that can be explored.</summary>
/// <param name="Name">Unlike any other, as <c>attach-against-unmap.vtd-legacy</c>.</param>
/// <param name="Create">Makes a fresh one; the explorer calls it once a run.</param>
internal sealed record NamedScenario(string Name, Func<Scenario> Create);

/// <summary>
/// The scenarios of the drivers: what must hold in each of their orders is invariants 1 and 2 (no device reaches memory that was taken from it,
/// nothing is reused too early), and that nobody waits for ever. Those that are wrong on purpose are not here.
/// </summary>
internal static class ScenarioCatalog
{
    private const IommuKind Vtd = IommuKind.Vtd;

    private static readonly IommuKind[] s_stages = [IommuKind.RiscV, IommuKind.Vtd, IommuKind.VtdFirstStage, IommuKind.VtdLegacy];

    /// <summary>All scenarios, sorted by name.</summary>
    public static IReadOnlyList<NamedScenario> All { get; } =
        [.. Attaching().Concat(Mapping()).Concat(Failing()).Concat(Guests()).OrderBy(static scenario => scenario.Name, StringComparer.Ordinal)];

    private static IEnumerable<NamedScenario> Attaching()
    {
        foreach (IommuKind kind in s_stages)
        {
            yield return Of("attach-against-unmap", kind, () => new AttachAgainstUnmap(kind: kind));
            yield return Of("detach-against-map", kind, () => new DetachAgainstMap(kind: kind));
            yield return Of("replace-against-invalidate", kind, () => new ReplaceAgainstInvalidate(kind));
            yield return Of("tag-given-back-against-one-taken", kind, () => new PscidReuse(kind: kind));
        }

        yield return new("attach-against-unmap.riscv-keeps-invalid-contexts", static () => new AttachAgainstUnmap(keepsInvalidContexts: true));
        yield return new(
            "attach-against-unmap.vtd-caching-mode", static () => new AttachAgainstUnmap(keepsInvalidContexts: true, kind: IommuKind.VtdCachingMode));
        foreach (IommuKind kind in (IommuKind[])[IommuKind.RiscV, Vtd])
        {
            yield return Of("two-attaches", kind, () => new TwoAttaches(1, kind));
            yield return Of("two-attaches-behind-two-iommus", kind, () => new TwoAttaches(2, kind));
            yield return Of("pasid-freed-against-dma", kind, () => new PasidFree(kind));
            yield return Of("unplug-against-invalidate", kind, () => new UnplugAgainstInvalidate(kind: kind));
            foreach (RemovalVariant variant in Enum.GetValues<RemovalVariant>())
            {
                yield return Of($"iommu-removed-{Words(variant)}", kind, () => new IommuRemoval(variant, kind));
            }
        }
    }

    private static IEnumerable<NamedScenario> Mapping()
    {
        foreach (IommuKind kind in (IommuKind[])[IommuKind.RiscV, Vtd, IommuKind.VtdFirstStage])
        {
            yield return Of("tables-against-map", kind, () => new TablesAgainstMap(kind));
            yield return Of("neighbours", kind, () => new Neighbours(kind));
            yield return Of("lazy-flush-against-reuse", kind, () => new LazyFlushAgainstReuse(kind: kind));
            yield return Of("unmaps-together", kind, () => new UnmapsTogether(detaches: false, kind));
            yield return Of("unmaps-and-detach-together", kind, () => new UnmapsTogether(detaches: true, kind));
        }

        foreach (IommuKind kind in s_stages)
        {
            yield return Of("driver-flush-against-reuse", kind, () => new DmaFlushAgainstReuse(kind));
            yield return Of("driver-neighbours", kind, () => new DmaNeighbours(kind));
            yield return Of("driver-nearly-full-strict", kind, () => new DmaNearlyFull(DmaMode.Strict, kind));
            yield return Of("driver-nearly-full-lazy", kind, () => new DmaNearlyFull(DmaMode.Lazy, kind));
        }

        foreach (IommuKind kind in (IommuKind[])[IommuKind.RiscV, Vtd])
        {
            yield return Of("dirty-read-against-write", kind, () => new DirtyReadAgainstWrite(false, kind));
            yield return Of("dirty-start-against-unmap", kind, () => new DirtyStartAgainstUnmap(kind));
        }
    }

    private static IEnumerable<NamedScenario> Failing()
    {
        foreach (IommuKind kind in (IommuKind[])[IommuKind.RiscV, Vtd])
        {
            yield return Of("faults-against-unplug", kind, () => new FaultsAgainstUnplug(kind));
            foreach (QueueTrouble trouble in Enum.GetValues<QueueTrouble>())
            {
                yield return Of($"queue-fails-{Words(trouble)}", kind, () => new QueueFailure(trouble, kind));
            }

            foreach (Revocation revocation in Enum.GetValues<Revocation>())
            {
                yield return Of(
                    $"caching-device-loses-by-{Words(revocation)}", kind,
                    () => new RevokeFromCachingDevice(revocation, Answer.Proper, kind: kind));
            }
        }
    }

    private static IEnumerable<NamedScenario> Guests()
    {
        foreach (IommuKind kind in (IommuKind[])[IommuKind.RiscV, Vtd, IommuKind.VtdCachingMode])
        {
            yield return Of("guest-invalidates-against-unmap", kind, () => new GuestInvalidateAgainstParentUnmap(iommus: 1, kind));
            yield return Of("guest-invalidates-against-unmap-two-iommus", kind, () => new GuestInvalidateAgainstParentUnmap(iommus: 2, kind));
            yield return Of("nested-attach-against-unmap", kind, () => new NestedAttachAgainstParentUnmap(kind));
            yield return Of("guest-changes-root", kind, () => new GuestChangesRoot(kind));
            yield return Of("nested-unplug", kind, () => new NestedUnplug(kind));
        }

        // Only a PASID of the device has the guest's table.
        const uint pasid = 5;
        yield return new("guest-invalidates-pasid-against-unmap.vtd", static () => new GuestInvalidateAgainstParentUnmap(1, Vtd, pasid));
        yield return new("nested-attach-of-pasid-against-unmap.vtd", static () => new NestedAttachAgainstParentUnmap(Vtd, pasid));
        yield return new("guest-changes-root-of-pasid.vtd", static () => new GuestChangesRoot(Vtd, pasid));
        yield return new("name-taken-against-event.riscv", static () => new NameTakenAgainstEvent());
    }

    private static NamedScenario Of(string name, IommuKind kind, Func<Scenario> create) => new($"{name}.{Words(kind)}", create);

    // FirstStage becomes first-stage.
    private static string Words<T>(T value)
        where T : struct, Enum
    {
        string name = value is IommuKind.RiscV ? "Riscv" : value.ToString();
        return string.Concat(name.Select((c, i) => char.IsUpper(c) && i > 0 ? $"-{char.ToLowerInvariant(c)}" : $"{char.ToLowerInvariant(c)}"));
    }
}
