using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <content>
/// Contexts and what was cached through them, in the order that chapter 6 asks: V is cleared first and set last, and whatever a
/// context gave out is invalidated before the next takes its place.
/// </content>
public sealed partial class RiscVIommuInstance
{
    // The bond is visible to invalidators before the hardware can load its PSCID (S4.7).
    private Errno TryGetTarget(DeviceState state, Pasid pasid, Domain next, out ContextTarget target)
    {
        target = ContextTarget.Blocked;
        if (state.IsCutOff && next is not BlockedDomain)
        {
            return Errno.IoError;
        }

        switch (next)
        {
            case BlockedDomain:
                return Errno.Success;
            case IdentityDomain:
                target = ContextTarget.Identity;
                return Errno.Success;
            case RiscVPagingDomain domain:
                Errno error = domain.Acquire(this, out Bond? bond);
                if (error == Errno.Success)
                {
                    AtsBond? ats = state.HasAts ? new(this, state, pasid) : null;
                    target = new(true, domain.FirstStageFor(Mutations), bond, ats);
                    if (ats is not null)
                    {
                        domain.AddAts(ats);
                    }
                }

                return error;
            default:
                return Errno.InvalidArgument;
        }
    }

    // The fields of a context cannot be changed together, and the hardware may read them in any order, so that a context which
    // is valid becomes invalid first, and everything that was cached through it goes, before it becomes valid again.
    private Errno Switch(
        DeviceState state, uint pasid, PhysicalAddress context, ContextTarget old, ContextTarget next, out bool isClean)
    {
        isClean = true;
        if (old.IsValid)
        {
            Errno error = Write(state, context, ContextTarget.Blocked);
            if (error == Errno.Success)
            {
                error = Invalidate(state, pasid, old);
            }

            if (error != Errno.Success)
            {
                _ = Write(state, context, old);
                return error;
            }
        }

        if (next.IsValid)
        {
            // No invalid entry was cached, but an emulated IOMMU may want to be told (section 6.3.9).
            Errno error = Write(state, context, next);
            if (error == Errno.Success && (Mutations & DriverMutation.SkipInvalidationOfNewContext) == 0)
            {
                error = Invalidate(state, pasid, ContextTarget.Blocked);
            }

            if (error != Errno.Success)
            {
                // The hardware may have seen the new context: what it took from there must go too.
                isClean = Write(state, context, ContextTarget.Blocked) == Errno.Success
                    && Invalidate(state, pasid, next) == Errno.Success;
                _ = Write(state, context, old);
                return error;
            }
        }

        return Errno.Success;
    }

    private Errno Write(DeviceState state, PhysicalAddress context, in ContextTarget target) =>
        state.Processes is null ? WriteDeviceContext(context, target) : WriteProcessContext(context, target);

    // V is written last and cleared first; each write is single-copy atomic and they are seen in order.
    private Errno WriteDeviceContext(PhysicalAddress context, in ContextTarget target)
    {
        bool written = Store(context + DeviceContextOffset.TranslationControl, 0);
        if (written && target.IsValid)
        {
            written = Store(context + DeviceContextOffset.Iohgatp, 0)
                && Store(
                    context + DeviceContextOffset.TranslationAttributes,
                    (ulong)target.Pscid << DeviceTranslationAttributes.PscidShift)
                && Store(context + DeviceContextOffset.FirstStageContext, target.FirstStage)
                && Store(context + DeviceContextOffset.TranslationControl, DeviceTranslationControl.ValidBit);
        }

        return written ? Errno.Success : Errno.IoError;
    }

    private Errno WriteProcessContext(PhysicalAddress context, in ContextTarget target)
    {
        bool written = Store(context + ProcessContextOffset.TranslationAttributes, 0);
        if (written && target.IsValid)
        {
            written = Store(context + ProcessContextOffset.FirstStageContext, target.FirstStage)
                && Store(
                    context + ProcessContextOffset.TranslationAttributes,
                    ((ulong)target.Pscid << ProcessTranslationAttributes.PscidShift) | ProcessTranslationAttributes.ValidBit);
        }

        return written ? Errno.Success : Errno.IoError;
    }

    private Errno WriteDirectoryContext(DeviceState state)
    {
        PhysicalAddress context = state.Context;
        bool written = Store(context + DeviceContextOffset.TranslationControl, 0)
            && Store(context + DeviceContextOffset.Iohgatp, 0)
            && Store(context + DeviceContextOffset.TranslationAttributes, 0)
            && Store(context + DeviceContextOffset.FirstStageContext, state.Processes!.Pointer)
            && Store(
                context + DeviceContextOffset.TranslationControl,
                DeviceTranslationControl.ValidBit | DeviceTranslationControl.PdtValidBit
                    | DeviceTranslationControl.DefaultProcessBit | AtsControl(state));
        Errno error = written ? _commands!.SubmitAndWait([Command.InvalidateDeviceDirectory(state.Id)]) : Errno.IoError;
        if (error != Errno.Success)
        {
            _ = Store(context + DeviceContextOffset.TranslationControl, 0);
            _ = _commands!.SubmitAndWait([Command.InvalidateDeviceDirectory(state.Id)]);
        }

        return error;
    }

    private static ulong AtsControl(DeviceState state)
    {
        bool requests = state.HasAts && state.Device.PageRequests;
        return (state.HasAts ? DeviceTranslationControl.EnableAtsBit : 0)
            | (requests ? DeviceTranslationControl.EnablePriBit : 0)
            | (requests && state.Device.PageResponsesNeedPasid ? DeviceTranslationControl.PrgResponsePasidRequiredBit : 0);
    }

    private bool Store(PhysicalAddress address, ulong value) => _memory.Write64(address, value) == MemoryStatus.Success;

    // Sections 6.3.1 and 6.3.2, by what the context was before the change.
    private Errno Invalidate(DeviceState state, uint pasid, in ContextTarget old)
    {
        if ((Mutations & DriverMutation.SkipDirectoryInvalidation) != 0)
        {
            return Errno.Success;
        }

        Command directory = state.Processes is null
            ? Command.InvalidateDeviceDirectory(state.Id)
            : Command.InvalidateProcessDirectory(state.Id, pasid);
        Errno error;
        if (old.Bond is null)
        {
            error = _commands!.SubmitAndWait([directory]);
        }
        else
        {
            _ = Interlocked.Increment(ref _addressSpaceFlushes);
            error = _commands!.SubmitAndWait([directory, Command.InvalidateFirstStage(null, old.Pscid, null)]);
        }

        if (error != Errno.Success || !old.IsValid || !state.HasAts || state.IsCutOff)
        {
            return error;
        }

        // The IOMMU gives out nothing of the old address space any more; now the device forgets what it got.
        error = _commands!.SubmitAndWait([AtsInvalidation.For(state.Id, new(pasid), AtsInvalidation.Everything)]);
        return error == Errno.TimedOut ? Isolate(state) : error;
    }

    private Errno InvalidateReleased(DeviceState state)
    {
        Command directory = Command.InvalidateDeviceDirectory(state.Id);
        if (state.Processes is not null)
        {
            return _commands!.SubmitAndWait([directory, Command.InvalidateFirstStage(null, null, null)]);
        }

        return state.Attached.GetValueOrDefault(0u).Bond is { } bond
            ? _commands!.SubmitAndWait([directory, Command.InvalidateFirstStage(null, bond.Pscid, null)])
            : _commands!.SubmitAndWait([directory]);
    }
}
