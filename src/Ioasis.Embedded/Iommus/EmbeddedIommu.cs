using Ioasis.Core;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// One IOMMU of an <see cref="EmbeddedPlatform"/> with its driver. What only its kind has is behind the derived type.
/// </summary>
public abstract class EmbeddedIommu : IDisposable
{
    private protected EmbeddedIommu()
    {
    }

    /// <summary>Its kind, as <see cref="IommuSlot.Kind"/> names it.</summary>
    public abstract string Kind { get; }

    /// <summary>A name for people, unique on the platform.</summary>
    public string Name => Driver.Name;

    /// <summary>The IOMMU as its driver presents it to the core.</summary>
    internal abstract IommuInstance Driver { get; }

    /// <summary>Where requests of devices enter. Interrupts that they cause stay for <see cref="HandleInterrupts"/>.</summary>
    public abstract IDmaPort Port { get; }

    /// <summary>Where messages of devices enter.</summary>
    public abstract IPcieAtsPort Messages { get; }

    /// <summary>Its registers.</summary>
    public abstract IRegisterWindow Registers { get; }

    /// <summary>What it did so far; hits, misses and walks only with <see cref="EmbeddedPlatformOptions.CollectStatistics"/>.</summary>
    internal abstract IommuActivity GetActivity();

    /// <summary>The sums of <see cref="GetActivity"/>, for those that look often.</summary>
    internal abstract IommuActivityTotals GetTotals();

    /// <summary>What its driver did so far.</summary>
    internal abstract DriverWork GetDriverWork();

    /// <summary>Makes a second model of it, without caches: what its tables say.</summary>
    internal abstract UncachedModel CreateUncached();

    /// <summary>Whether an invalidation that a guest asks for has an address forgotten (<c>IOMMU_HWPT_INVALIDATE</c>).</summary>
    /// <param name="dataType">The layout of the entry; of one that it does not know it says yes.</param>
    /// <param name="entry">The entry.</param>
    /// <param name="iova">The address.</param>
    internal abstract bool Invalidates(uint dataType, ReadOnlySpan<byte> entry, ulong iova);

    /// <summary>The specification's words for a fault's code (<see cref="IommuFault.Cause"/>); "other" for one that it does not have.</summary>
    public abstract string NameOfFault(int cause);

    /// <summary>Whether a fault's code can mean that a page is not mapped, or not for this access.</summary>
    /// <param name="cause">The code.</param>
    /// <param name="write">The access was a write.</param>
    public abstract bool IsPageFault(int cause, bool write);

    /// <summary>The bits of an address that a fault record keeps.</summary>
    public virtual ulong FaultAddressMask => ulong.MaxValue;

    /// <summary>What there is to say of it to people: a word and its value.</summary>
    public abstract IReadOnlyDictionary<string, string> Describe();

    /// <summary>Lets the driver look at everything that the IOMMU has for it, as the platform's interrupts do by themselves.</summary>
    public void HandleInterrupts() => Interrupts.RunAlways();

    /// <summary>Its interrupts, on their way to the driver.</summary>
    internal InterruptController Interrupts { get; private protected init; } = null!;

    /// <summary>Its link to the devices that speak ATS.</summary>
    internal EmbeddedPcieLink Link { get; private protected init; } = null!;

    /// <summary><see cref="Port"/>, followed by the interrupts.</summary>
    internal InterruptingPort DevicePort { get; private protected init; } = null!;

    /// <summary>Has somebody look at each access of a device, in place of who did before.</summary>
    internal void WatchDma(DmaWatch watch)
    {
        DevicePort.Watch = watch;
        Link.Observe(watch);
    }

    /// <summary>Who looked looks no more, if it is still the one.</summary>
    internal void EndWatch(DmaWatch watch)
    {
        if (ReferenceEquals(DevicePort.Watch, watch))
        {
            DevicePort.Watch = null;
            Link.Observe(null);
        }
    }

    /// <summary>Stops the driver.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Stops the driver.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>An IOMMU of a kind: the model of its hardware, and the driver that has taken it.</summary>
/// <typeparam name="THardware">The model.</typeparam>
/// <typeparam name="TInstance">The driver.</typeparam>
internal abstract class EmbeddedIommu<THardware, TInstance> : EmbeddedIommu
    where THardware : class, IDmaPort, IPcieAtsPort, IRegisterWindow
    where TInstance : IommuInstance, IDisposable
{
    private protected EmbeddedIommu()
    {
    }

    /// <summary>The hardware.</summary>
    public THardware Hardware { get; private protected init; } = null!;

    /// <summary>The driver.</summary>
    public TInstance Instance { get; private protected init; } = null!;

    /// <inheritdoc/>
    internal override IommuInstance Driver => Instance;

    /// <inheritdoc/>
    public override IDmaPort Port => Hardware;

    /// <inheritdoc/>
    public override IPcieAtsPort Messages => Hardware;

    /// <inheritdoc/>
    public override IRegisterWindow Registers => Hardware;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Instance.Dispose();
        }
    }
}

/// <summary>What an IOMMU did since it was made.</summary>
/// <param name="Devices">By device.</param>
/// <param name="Commands">By kind of command.</param>
/// <param name="Faults">By reason.</param>
internal sealed record IommuActivity(
    IReadOnlyList<DeviceActivity> Devices, IReadOnlyList<CommandActivity> Commands, IReadOnlyList<FaultActivity> Faults);

/// <summary>What one device did to the caches of an IOMMU.</summary>
/// <param name="Device">The device.</param>
/// <param name="Hits">Requests that the IOTLB answered, and those that need no translation.</param>
/// <param name="Misses">Requests that walked page tables.</param>
/// <param name="Evictions">Live entries of the IOTLB that had to go for entries of this device.</param>
/// <param name="WalkReads">Memory reads of its requests that missed: directories and page tables.</param>
internal readonly record struct DeviceActivity(DeviceId Device, long Hits, long Misses, long Evictions, long WalkReads);

/// <summary>Commands of one kind.</summary>
/// <param name="Name">The specification's name of them.</param>
/// <param name="Executed">How many were executed.</param>
/// <param name="RemovedEntries">IOTLB entries that they removed.</param>
/// <param name="IsInvalidation">Whether they make the IOMMU, or a device, forget something.</param>
internal readonly record struct CommandActivity(string Name, long Executed, long RemovedEntries, bool IsInvalidation);

/// <summary>Faults of one reason.</summary>
/// <param name="Cause">The IOMMU's own code, as in <see cref="IommuFault.Cause"/>.</param>
/// <param name="Count">How many there were; also those that were not recorded.</param>
internal readonly record struct FaultActivity(int Cause, long Count);

/// <summary>What an IOMMU did since it was made, as sums.</summary>
/// <param name="Hits">Requests that the IOTLB answered.</param>
/// <param name="Misses">Requests that walked page tables.</param>
/// <param name="Invalidations">Commands that invalidate.</param>
/// <param name="RemovedEntries">IOTLB entries that they removed.</param>
internal readonly record struct IommuActivityTotals(long Hits, long Misses, long Invalidations, long RemovedEntries);

/// <summary>What the driver of an IOMMU did since it took it.</summary>
/// <param name="Invalidations">Commands that invalidate.</param>
/// <param name="Queued">Commands on their way.</param>
/// <param name="Recoveries">Times that the command queue was restarted.</param>
/// <param name="PageRequests">Page requests that were read.</param>
internal readonly record struct DriverWork(long Invalidations, int Queued, long Recoveries, long PageRequests);
