using System.Globalization;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <content>
/// Devices and what they are attached to. A blocked device has an invalid context, so that its DMA faults with "DDT entry not
/// valid" (258), or "PDT entry not valid" (266) for a device that sends PASIDs: causes that no failed translation has. A
/// device that can send PASIDs has a process directory from the beginning, with its requests without PASID as process 0
/// (<c>tc.DPE</c>), so that attaching a PASID never touches the context that other PASIDs run on. So has a device that caches
/// translations: an invalid device context would not let its invalidation completions through (section 2.1.2.1).
/// </content>
internal sealed partial class RiscVIommuInstance
{
    /// <inheritdoc/>
    /// <remarks>A device_id has 24 bits, fewer with fewer levels of the device directory (section 2.1).</remarks>
    public override string? ReasonToRefuse(DeviceId id)
    {
        int bits = _directory?.IdentifierBits ?? DeviceDirectory.MaxIdentifierBits;
        return id.Value >> bits == 0 ? null : string.Create(
            CultureInfo.InvariantCulture,
            $"device ID 0x{id.Value:x} ({id}) needs more than {bits} bits, which is what the device directory of {Name} tells apart");
    }

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

        // Not while the IOMMU goes: that takes every device out by itself, and the directory with them.
        using (_lifeLock.Acquire())
        {
            if (device.DriverData is DeviceState state && _devices.TryRemove(state.Id, out _))
            {
                device.DriverData = null;
                Forget(state, isOff: false);
            }
        }
    }

    /// <inheritdoc/>
    protected internal override Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (device.DriverData is not DeviceState state)
        {
            return Errno.NoDevice;
        }

        if (pasid.Value != 0 && (state.Processes is null || device.PasidBits == 0))
        {
            return Errno.NotSupported;
        }

        if (pasid.Value != 0 && pasid.Value >> Math.Min(state.Processes!.IdentifierBits, device.PasidBits) != 0)
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
            Errno error = CheckPlace(state, pasid, next);
            PhysicalAddress context = default;
            if (error == Errno.Success && state.Processes is not null)
            {
                error = state.Processes.TryGetContext(pasid.Value, device.Node, out context);
            }

            if (error != Errno.Success)
            {
                return error;
            }

            error = TryGetTarget(state, pasid, next, out ContextTarget target);
            if (error != Errno.Success)
            {
                return error;
            }

            error = Switch(new(state, pasid.Value, context), old, target, out bool isClean);
            if (error != Errno.Success)
            {
                GiveBack(target, isClean);
                return error;
            }

            state.IsNested = pasid.Value == 0 ? target.Guest is not null : state.IsNested;
            if (target.IsValid)
            {
                state.Attached[pasid.Value] = target;
            }
            else
            {
                _ = state.Attached.Remove(pasid.Value);
            }

            // The hardware is switched and flushed: only now may the bond go (S4.8).
            GiveBack(old, isFlushed: true);
            return Errno.Success;
        }
    }

    // A second stage is the device's as a whole: PASIDs of the host's cannot be beside it (section 2.1.2.4 makes the process
    // directory guest-physical then).
    private static Errno CheckPlace(DeviceState state, Pasid pasid, Domain next)
    {
        bool takesDevice = next is RiscVNestedDomain or RiscVPagingDomain { IsSecondStage: true };
        if (takesDevice && pasid.Value != 0)
        {
            return Errno.InvalidArgument;
        }

        bool isTaken = takesDevice
            ? state.Attached.Keys.Any(static key => key != 0)
            : pasid.Value != 0 && next is not BlockedDomain && state.Attached.GetValueOrDefault(0u).IsOnDevice;
        return isTaken ? Errno.Busy : Errno.Success;
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Where the hardware has MSI page tables the window is its own; elsewhere software has chosen it, and doorbells are mapped
    /// there like pages.
    /// </remarks>
    protected internal override IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device) =>
        _options.MsiWindow is not { } window ? []
        : [new(window, _capabilities.MsiFlat ? ReservedRegionKind.Msi : ReservedRegionKind.SoftwareMsi, Access.Write)];

    private Errno Probe(IommuDevice device)
    {
        if (ReasonToRefuse(device.Id) is { } reason)
        {
            _options.Logger.LogError("{Name}: device {Device} cannot be added: {Reason}", Name, device.Name, reason);
            return Errno.NoDeviceOrAddress;
        }

        Errno error = _directory!.TryGetContext((uint)device.Id.Value, device.Node, out PhysicalAddress context);
        if (error != Errno.Success)
        {
            return error;
        }

        ProcessDirectory? processes = null;
        bool wantsAts = device.Ats && _capabilities.Ats;
        int levels = device.PasidBits > 0 || wantsAts ? ProcessDirectory.LevelsFor(_capabilities, device.PasidBits) : 0;
        if (levels > 0)
        {
            error = ProcessDirectory.TryCreate(_memory, _pages, device.Node, levels, out processes);
            if (error == Errno.Success)
            {
                // The context of requests without PASID, so that attaching them needs no memory.
                error = processes!.TryGetContext(0, device.Node, out _);
            }
        }

        DeviceState state = new(device, context, processes) { HasAts = wantsAts && processes is not null };
        bool added = false;
        if (error == Errno.Success)
        {
            added = _devices.TryAdd(state.Id, state);
            error = added ? Errno.Success : Errno.Exists;
        }

        if (error == Errno.Success && processes is not null)
        {
            error = WriteDirectoryContext(state);
            if (error != Errno.Success)
            {
                _ = Store(state.Context + DeviceContextOffset.TranslationControl, 0);
                _ = _commands!.SubmitAndWait([Command.InvalidateDeviceDirectory(state.Id)]);
            }
        }

        if (error != Errno.Success)
        {
            if (added)
            {
                _ = _devices.TryRemove(state.Id, out _);
            }

            processes?.Free();
            return error;
        }

        device.DriverData = state;
        return Errno.Success;
    }

    /// <summary>Cuts off a device that does not answer invalidations: translated or not, its DMA is refused (260 or 258).</summary>
    internal Errno Isolate(DeviceState state)
    {
        using (state.Lock.Acquire())
        {
            if (state.IsCutOff)
            {
                return Errno.Success;
            }

            _options.Logger.LogCritical(
                "{Name}: device {Device:x6} does not answer ATS invalidations and is cut off", Name, state.Id);
            // The context of a device that was removed may be another's by now; it is invalid for this one already.
            if (!state.IsGone && !Store(state.Context + DeviceContextOffset.TranslationControl, 0))
            {
                return Errno.IoError;
            }

            Errno error = _commands!.SubmitAndWait([Command.InvalidateDeviceDirectory(state.Id)]);
            state.IsCutOff = error == Errno.Success;
            return error;
        }
    }

    // Takes a device out: its contexts become invalid, and what was cached through them goes. If the IOMMU is off, there is
    // nothing left to tell it. If it does not answer, what it may still use is never given back.
    private void Forget(DeviceState state, bool isOff)
    {
        using (state.Lock.Acquire())
        {
            state.IsGone = true;

            // What others have just asked a caching device must be answered while its answers still come through.
            if (!isOff)
            {
                CloseGate(state);
            }

            Errno error = Store(state.Context + DeviceContextOffset.TranslationControl, 0) ? Errno.Success : Errno.IoError;
            if (!isOff && error == Errno.Success)
            {
                error = InvalidateReleased(state);
            }

            bool isFlushed = isOff || error is Errno.Success or Errno.NoDevice;
            state.IsCutOff = isFlushed;
            if (!isOff)
            {
                OpenGate(state);
            }

            foreach (ContextTarget target in state.Attached.Values)
            {
                GiveBack(target, isFlushed);
            }

            state.Attached.Clear();
            if (isFlushed)
            {
                state.Processes?.Free();
            }
            else
            {
                if (state.Processes is not null)
                {
                    _quarantinedDirectories.Add(state.Processes);
                }

                _options.Logger.LogCritical(
                    "{Name}: device {Device:x6} was removed but the IOMMU did not confirm it ({Error})", Name, state.Id, error);
            }
        }
    }

    // A bond that the hardware may still know stays until the IOMMU is off, and its PSCID and its domain's tables with it.
    private void GiveBack(in ContextTarget target, bool isFlushed)
    {
        if (target.Bond is not { } bond)
        {
            return;
        }

        if (!isFlushed)
        {
            _quarantine.Add(target);
            return;
        }

        if (target.Ats is { } ats)
        {
            bond.Set.RemoveAts(ats);
        }

        target.Guest?.Domain.Remove(target.Guest);
        bond.Set.Release(bond);
    }
}
