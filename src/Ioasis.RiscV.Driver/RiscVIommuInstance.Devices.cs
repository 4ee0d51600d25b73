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
public sealed partial class RiscVIommuInstance
{
    /// <inheritdoc/>
    protected override Errno ProbeDevice(IommuDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        using (_lifeLock.Acquire())
        {
            return _disposed ? Errno.NoDevice : Probe(device);
        }
    }

    /// <inheritdoc/>
    protected override void ReleaseDevice(IommuDevice device)
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
    protected override Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current)
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

            PhysicalAddress context = state.Context;
            if (state.Processes is not null)
            {
                Errno found = state.Processes.TryGetContext(pasid.Value, device.Node, out context);
                if (found != Errno.Success)
                {
                    return found;
                }
            }

            ContextTarget old = state.Attached.GetValueOrDefault(pasid.Value);
            Errno error = TryGetTarget(state, pasid, next, out ContextTarget target);
            if (error != Errno.Success)
            {
                return error;
            }

            if (Mutations != DriverMutation.None && target.Bond is { MadeBy: null } fresh)
            {
                fresh.MadeBy = device;
            }

            if ((Mutations & DriverMutation.PscidFreedBeforeFlush) != 0)
            {
                GiveBack(old, isFlushed: true);
            }

            error = Switch(state, pasid.Value, context, old, target, out bool isClean);
            if (error != Errno.Success)
            {
                GiveBack(target, isClean);
                return error;
            }

            if ((Mutations & DriverMutation.BondAfterContext) != 0)
            {
                target.Bond?.Domain.Publish(target.Bond);
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
            if ((Mutations & DriverMutation.PscidFreedBeforeFlush) == 0)
            {
                GiveBack(old, isFlushed: true);
            }

            return Errno.Success;
        }
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device) =>
        _options.MsiWindow is { } window ? [new(window, ReservedRegionKind.SoftwareMsi, Access.Write)] : [];

    /// <inheritdoc/>
    public override Errno TryAllocatePagingDomain(
        IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain)
    {
        ArgumentNullException.ThrowIfNull(device);
        domain = null;
        if (options.DirtyTracking || options.NestParent)
        {
            return Errno.NotSupported;
        }

        Errno error = RiscVPagingDomain.TryCreate(this, _pages, ChooseMode(), device.Node, out RiscVPagingDomain? made);
        domain = made;
        return error;
    }

    private Errno Probe(IommuDevice device)
    {
        Errno error = _directory!.TryGetContext(device.Id.Value, device.Node, out PhysicalAddress context);
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

    /// <summary>Whether the IOMMU can walk tables of a mode.</summary>
    internal bool Supports(PagingMode mode) => mode switch
    {
        PagingMode.Sv39 => _capabilities.Sv39,
        PagingMode.Sv48 => _capabilities.Sv48,
        _ => _capabilities.Sv57,
    };

    private PagingMode ChooseMode()
    {
        PagingMode[] byPreference = _options.PreferredMode switch
        {
            PagingMode.Sv39 => [PagingMode.Sv39, PagingMode.Sv48, PagingMode.Sv57],
            PagingMode.Sv48 => [PagingMode.Sv48, PagingMode.Sv39, PagingMode.Sv57],
            _ => [PagingMode.Sv57, PagingMode.Sv48, PagingMode.Sv39],
        };
        return Array.Find(byPreference, Supports);
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
            Errno error = Store(state.Context + DeviceContextOffset.TranslationControl, 0) ? Errno.Success : Errno.IoError;
            if (!isOff && error == Errno.Success)
            {
                error = InvalidateReleased(state);
            }

            bool isFlushed = isOff || error is Errno.Success or Errno.NoDevice;
            state.IsCutOff = isFlushed;
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
            bond.Domain.RemoveAts(ats);
        }

        bond.Domain.Release(bond);
    }
}
