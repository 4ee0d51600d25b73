using System.Globalization;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Intel.Driver;

/// <content>
/// Devices and what they are attached to. In scalable mode a device has a context and a PASID directory from the beginning; what it is
/// attached to is in the entries of its PASIDs, with that of requests without PASID as PASID 0 (RID_PASID), so that attaching one never
/// touches what others run on. In legacy mode it is in the context. What is blocked is not present: DMA then faults with a cause that no
/// failed translation has.
/// </content>
internal sealed partial class VtdIommuInstance
{
    // The interrupt address range: stores to it are interrupts, whatever tables say (section 3.15).
    private static readonly AddressRange s_interruptRange = new(InterruptAddress.First, InterruptAddress.Last);

    /// <inheritdoc/>
    /// <remarks>A unit serves devices of one PCI segment (section 3.3).</remarks>
    public override string? ReasonToRefuse(DeviceId id) =>
        id.HasSegment && id.Segment == _options.Segment ? null : string.Create(
            CultureInfo.InvariantCulture,
            $"device ID 0x{id.Value:x} ({id}) is not of PCI segment 0x{_options.Segment:x4}, which is the one that {Name} serves");

    /// <inheritdoc/>
    protected internal override Errno ProbeDevice(IommuDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        using (_lifeLock.Acquire())
        {
            return _disposed ? Errno.NoDevice : Probe(device);
        }
    }

    /// <inheritdoc/>
    protected internal override void ReleaseDevice(IommuDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);

        // Not while the IOMMU goes: that takes every device out by itself, and the tables with them.
        using (_lifeLock.Acquire())
        {
            if (device.DriverData is DeviceState state && _devices.TryRemove(state.SourceId, out _))
            {
                device.DriverData = null;
                Forget(state, isOff: false);
            }
        }
    }

    /// <inheritdoc/>
    protected internal override IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device) =>
        [new(s_interruptRange, ReservedRegionKind.Msi, Access.Write)];

    /// <inheritdoc/>
    protected internal override Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (device.DriverData is not DeviceState state)
        {
            return Errno.NoDevice;
        }

        if (pasid.Value != 0 && (!IsScalable || device.PasidBits == 0 || Capabilities.PasidBits == 0))
        {
            return Errno.NotSupported;
        }

        if (pasid.Value != 0 && pasid.Value >> Math.Min(Capabilities.PasidBits, device.PasidBits) != 0)
        {
            return Errno.InvalidArgument;
        }

        using (state.Lock.Acquire())
        {
            if (state.IsGone)
            {
                return Errno.NoDevice;
            }

            ContextTarget old = state.Attached.GetValueOrDefault(pasid.Value);
            PhysicalAddress entry = state.Context;
            Errno error = state.Pasids is null ? Errno.Success : state.Pasids.TryGetEntry(pasid.Value, out entry);
            if (error != Errno.Success)
            {
                return error;
            }

            error = TryGetTarget(state, pasid, next, out ContextTarget target);
            if (error != Errno.Success)
            {
                return error;
            }

            error = Switch(new(state, pasid.Value, entry), old, target, out bool isClean);
            if (error != Errno.Success)
            {
                GiveBack(target, pasid.Value, isClean);
                return error;
            }

            if (target.IsValid)
            {
                state.Attached[pasid.Value] = target;
            }
            else
            {
                _ = state.Attached.Remove(pasid.Value);
            }

            // The hardware is switched and flushed: only now may the bond go (S4.8).
            GiveBack(old, pasid.Value, isFlushed: true);
            return Errno.Success;
        }
    }

    /// <summary>Cuts off a device that does not answer invalidations: translated or not, its DMA is refused.</summary>
    internal Errno Isolate(DeviceState state)
    {
        using (state.Lock.Acquire())
        {
            if (state.IsCutOff)
            {
                return Errno.Success;
            }

            _options.Logger.LogCritical("{Name}: device {Device} does not answer invalidations and is cut off", Name, state.Device.Id);

            // The context of a device that was removed may be another's by now; it is not present for this one already.
            if (!state.IsGone && !Store(state.Context, 0))
            {
                return Errno.IoError;
            }

            uint domainId = state.Attached.GetValueOrDefault(0u).DomainId;
            Errno error = _queue!.SubmitAndWait([QueueDescriptor.Context(state.SourceId, IsScalable ? 0 : domainId)]);
            state.IsCutOff = error == Errno.Success;
            return error;
        }
    }

    private Errno Probe(IommuDevice device)
    {
        if (ReasonToRefuse(device.Id) is { } reason)
        {
            _options.Logger.LogError("{Name}: device {Device} cannot be added: {Reason}", Name, device.Name, reason);
            return Errno.NoDeviceOrAddress;
        }

        Errno error = _contexts!.TryGetContext(device.Id.RequesterId, device.Node, out PhysicalAddress context, out bool isNew);
        PasidDirectory? pasids = null;
        if (error == Errno.Success && IsScalable)
        {
            error = PasidDirectory.TryCreate(
                _memory, _pages, device.Node, Math.Min(device.PasidBits, Capabilities.PasidBits), out pasids);

            // The entry of requests without PASID, so that attaching them needs no memory.
            error = error == Errno.Success ? pasids!.TryGetEntry(0, out _) : error;
        }

        if (error != Errno.Success)
        {
            pasids?.Free();
            return error;
        }

        // A device that may lie about what it translated must not translate by itself.
        bool hasAts = device.Ats && !device.IsUntrusted && Capabilities.Ats;
        DeviceState state = new(device, context, pasids)
        {
            HasAts = hasAts,
            HasPageRequests = hasAts && device.PageRequests && Capabilities.PageRequests,
        };
        if (!_devices.TryAdd(state.SourceId, state))
        {
            pasids?.Free();
            return Errno.Exists;
        }

        error = IsScalable ? WriteScalableContext(state) : Errno.Success;
        if (error == Errno.Success && MapsNeedInvalidation && (isNew || IsScalable))
        {
            // Absence is cached under domain 0 (sections 6.1, 6.2.2).
            error = _queue!.SubmitAndWait([QueueDescriptor.Context(state.SourceId, 0)]);
        }

        if (error != Errno.Success)
        {
            _ = _devices.TryRemove(state.SourceId, out _);
            if (Store(context, 0) && _queue!.SubmitAndWait([QueueDescriptor.Context(state.SourceId, 0)]) == Errno.Success)
            {
                pasids?.Free();
            }
            else if (pasids is not null)
            {
                _quarantinedDirectories.Add(pasids);
            }

            return error;
        }

        device.DriverData = state;
        return Errno.Success;
    }

    // The first doubleword comes last: it makes the entry present.
    private Errno WriteScalableContext(DeviceState state)
    {
        ulong permissions = (state.HasAts ? ScalableContextEntry.DeviceTlbBit : 0)
            | (state.HasPageRequests ? ScalableContextEntry.PageRequestBit : 0)
            | (state.Device.PasidBits > 0 && Capabilities.PasidBits > 0 ? ScalableContextEntry.PasidBit : 0);
        bool isWritten = Store(state.Context + 8, 0) && Store(state.Context + 16, 0) && Store(state.Context + 24, 0)
            && Store(state.Context, state.Pasids!.Pointer | permissions | ScalableContextEntry.PresentBit);
        return isWritten ? Errno.Success : Errno.IoError;
    }

    // Takes a device out: its context goes, and what was cached through it. If the IOMMU is off, there is nothing left to tell it. If it
    // does not answer, what it may still use is never given back.
    private void Forget(DeviceState state, bool isOff)
    {
        using (state.Lock.Acquire())
        {
            state.IsGone = true;
            Errno error = Store(state.Context, 0) ? Errno.Success : Errno.IoError;
            if (!isOff && error == Errno.Success)
            {
                error = InvalidateReleased(state);
            }

            bool isFlushed = isOff || error is Errno.Success or Errno.NoDevice;
            state.IsCutOff = isFlushed;
            foreach ((uint pasid, ContextTarget target) in state.Attached)
            {
                GiveBack(target, pasid, isFlushed);
            }

            state.Attached.Clear();
            if (isFlushed)
            {
                state.Pasids?.Free();
                return;
            }

            if (state.Pasids is not null)
            {
                _quarantinedDirectories.Add(state.Pasids);
            }

            _options.Logger.LogCritical(
                "{Name}: device {Device} was removed but the IOMMU did not confirm it ({Error})", Name, state.Device.Id, error);
        }
    }

    // A bond that the hardware may still know stays until the IOMMU is off, and its domain-ID and its domain's tables with it.
    private void GiveBack(in ContextTarget target, uint pasid, bool isFlushed)
    {
        if (target.Bond is not { } bond)
        {
            return;
        }

        if (!isFlushed)
        {
            _quarantine.Add((target, pasid));
            return;
        }

        if (target.Ats is { } ats)
        {
            bond.Set.RemoveAts(ats);
        }

        target.Guest?.Domain.Remove(target.Guest);
        bond.Set.Release(bond, pasid);
    }
}
