using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>What the driver knows of a device: where its entries lie and what they point at now.</summary>
internal sealed class DeviceState(IommuDevice device, PhysicalAddress context, PasidDirectory? pasids)
{
    private bool _isCutOff;

    public IommuDevice Device { get; } = device;

    public ushort SourceId { get; } = device.Id.RequesterId;

    /// <summary>The context entry.</summary>
    public PhysicalAddress Context { get; } = context;

    /// <summary>In scalable mode the PASID directory, else null.</summary>
    public PasidDirectory? Pasids { get; } = pasids;

    /// <summary>Whether the device may cache translations.</summary>
    public bool HasAts { get; init; }

    /// <summary>Whether it may request pages.</summary>
    public bool HasPageRequests { get; init; }

    /// <summary>
    /// The hardware has confirmed that the context is not present, because the device was removed or did not answer invalidations: nothing
    /// of it goes through, translated or not.
    /// </summary>
    public bool IsCutOff
    {
        get => Volatile.Read(ref _isCutOff);
        set => Volatile.Write(ref _isCutOff, value);
    }

    /// <summary>Excludes changes of the entries.</summary>
    public IoLock Lock { get; } = new();

    /// <summary>What each PASID is attached to; 0 are requests without one. Blocked is not listed.</summary>
    public Dictionary<uint, ContextTarget> Attached { get; } = [];

    /// <summary>The device was released: nothing may be attached any more.</summary>
    public bool IsGone { get; set; }
}
