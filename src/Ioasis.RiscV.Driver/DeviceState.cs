using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <summary>What a context points at.</summary>
/// <param name="IsValid">Whether DMA goes through at all.</param>
/// <param name="FirstStage">The <c>fsc</c> field: mode and root table; 0 passes addresses unchanged.</param>
/// <param name="Bond">The bond, if there is a stage of the host's.</param>
/// <param name="Ats">The bond of the device itself, if it caches translations.</param>
/// <param name="Guest">The device's place in a nested domain, if that is what it is attached to.</param>
internal readonly record struct ContextTarget(
    bool IsValid, ulong FirstStage, Bond? Bond, AtsBond? Ats = null, GuestAttachment? Guest = null)
{
    /// <summary>An invalid context: every DMA faults.</summary>
    public static ContextTarget Blocked => default;

    /// <summary>Addresses pass unchanged.</summary>
    public static ContextTarget Identity => new(true, 0, null);

    /// <summary>It has a second stage, so that it takes the device context even of a device with a process directory.</summary>
    public bool IsOnDevice => Bond is { Tag.IsSecondStage: true };

    /// <summary>The PSCID of the context: the host's, or a guest's own.</summary>
    public uint Pscid => IsOnDevice ? Guest?.Domain.Pscid ?? 0 : Bond?.Tag.Identifier ?? 0;

    /// <summary>The domain that the second stage is of.</summary>
    public RiscVPagingDomain? SecondStage { get; init; }
}

/// <summary>A device that is attached to a nested domain.</summary>
internal sealed class GuestAttachment(RiscVNestedDomain domain, RiscVIommuInstance iommu, uint deviceId)
{
    public RiscVNestedDomain Domain { get; } = domain;

    public RiscVIommuInstance Iommu { get; } = iommu;

    public uint DeviceId { get; } = deviceId;
}

/// <summary>What the driver knows of a device: where its contexts lie and what they point at now.</summary>
internal sealed class DeviceState(IommuDevice device, PhysicalAddress context, ProcessDirectory? processes)
{
    private bool _isCutOff;
    private bool _isNested;
    private RiscVVirtualIommu? _virtual;

    public IommuDevice Device { get; } = device;

    public uint Id { get; } = (uint)device.Id.Value;

    public PhysicalAddress Context { get; } = context;

    /// <summary>The process directory of a device that sends PASIDs, else null.</summary>
    public ProcessDirectory? Processes { get; } = processes;

    /// <summary>
    /// Whether the device may cache translations. Then its context stays valid but for moments, and its process contexts change.
    /// </summary>
    public bool HasAts { get; init; }

    /// <summary>
    /// The hardware has confirmed that the device context is invalid, because the device was removed or did not answer
    /// invalidations: nothing of it goes through, translated or not.
    /// </summary>
    public bool IsCutOff
    {
        get => Volatile.Read(ref _isCutOff);
        set => Volatile.Write(ref _isCutOff, value);
    }

    /// <summary>Excludes changes of the contexts.</summary>
    public IoLock Lock { get; } = new();

    /// <summary>Keeps the moments in which the device context of a caching device is invalid away from its invalidations.</summary>
    public ContextGate Gate { get; } = new();

    /// <summary>What each PASID is attached to; 0 are requests without one. Blocked is not listed.</summary>
    public Dictionary<uint, ContextTarget> Attached { get; } = [];

    /// <summary>Whether requests without PASID go through a guest's first stage: what faults there is the guest's to know.</summary>
    public bool IsNested
    {
        get => Volatile.Read(ref _isNested);
        set => Volatile.Write(ref _isNested, value);
    }

    /// <summary>The guest's IOMMU that the device has a name in, or null.</summary>
    public RiscVVirtualIommu? Virtual
    {
        get => Volatile.Read(ref _virtual);
        set => Volatile.Write(ref _virtual, value);
    }

    /// <summary>The device was released: nothing may be attached any more.</summary>
    public bool IsGone { get; set; }
}
