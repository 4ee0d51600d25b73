using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Intel.Driver;

/// <content>
/// What an entry points at next, and the way there: P is cleared first and set last, and whatever an entry gave out is invalidated before
/// the next takes its place (sections 6.2, 6.5.3; the hardware may read the doublewords of an entry in any order).
/// </content>
internal sealed partial class VtdIommuInstance
{
    /// <summary>An entry to be switched.</summary>
    /// <param name="State">The device.</param>
    /// <param name="Pasid">0 for requests without PASID.</param>
    /// <param name="Entry">The PASID-table entry; in legacy mode the context entry.</param>
    private readonly record struct EntryPlace(DeviceState State, uint Pasid, PhysicalAddress Entry);

    // The bond is visible to invalidators before the hardware can load its domain-ID (S4.7).
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
            case IdentityDomain when _extended.Has(ExtendedCapability.PassThroughBit):
                target = ContextTarget.PassThrough(_passThroughId, MostLevels);
                return Errno.Success;
            case IdentityDomain:
                _options.Logger.LogWarning(
                    "{Name}: device {Device} cannot have an identity domain: the IOMMU has no pass-through (ECAP_REG.PT)", Name, state.Device.Id);
                return Errno.NotSupported;
            case VtdPagingDomain domain:
                Errno error = domain.Acquire(this, pasid, out Bond? bond);
                if (error == Errno.Success)
                {
                    target = domain.TargetFor(bond!, NewAts(state, pasid, bond!));
                }

                return error;
            case VtdSvaDomain process:
                error = process.Acquire(this, pasid, out bond);
                if (error == Errno.Success)
                {
                    target = process.TargetFor(bond!, NewAts(state, pasid, bond!));
                }

                return error;
            case VtdNestedDomain nested:
                return TryGetNestedTarget(state, pasid, nested, out target);
            default:
                return Errno.InvalidArgument;
        }
    }

    private Errno TryGetNestedTarget(DeviceState state, Pasid pasid, VtdNestedDomain nested, out ContextTarget target)
    {
        target = ContextTarget.Blocked;
        if (!Capabilities.Nesting || nested.MissingFrom(_capability, _extended) is not null)
        {
            _options.Logger.LogWarning(
                "{Name}: device {Device} cannot be nested: {Missing}",
                Name, state.Device.Id, nested.MissingFrom(_capability, _extended) ?? "ECAP_REG.NEST");
            return Errno.InvalidArgument;
        }

        Errno error = nested.SecondStage.Acquire(this, pasid, out Bond? bond);
        if (error == Errno.Success)
        {
            GuestAttachment guest = new(nested, bond!, state, pasid);
            nested.Add(guest);
            target = nested.TargetFor(bond!, NewAts(state, pasid, bond!, isGuest: true), guest);
        }

        return error;
    }

    private int MostLevels => _capability.SupportsLevels(5) ? 5 : _capability.SupportsLevels(4) ? 4 : 3;

    private AtsBond? NewAts(DeviceState state, Pasid pasid, Bond bond, bool isGuest = false)
    {
        if (!state.HasAts)
        {
            return null;
        }

        AtsBond ats = new(this, state, pasid, isGuest);
        bond.Set.AddAts(ats);
        return ats;
    }

    private Errno Switch(in EntryPlace place, in ContextTarget old, in ContextTarget next, out bool isClean)
    {
        isClean = true;
        if (old.IsValid)
        {
            Errno error = Block(place, old);
            if (error != Errno.Success)
            {
                Restore(place, old);
                return error;
            }
        }

        if (next.IsValid)
        {
            Errno error = Unblock(place, next);
            if (error != Errno.Success)
            {
                // The hardware may have seen the new entry: what it took from there must go too.
                isClean = Block(place, next) == Errno.Success;
                Restore(place, old);
                return error;
            }
        }

        return Errno.Success;
    }

    // From present to absent; when it succeeds, nothing of the old target is in use or cached.
    private Errno Block(in EntryPlace place, in ContextTarget old)
    {
        Errno error = WriteEntry(place, ContextTarget.Blocked);
        error = error == Errno.Success ? Invalidate(place, old) : error;

        // The IOMMU gives out nothing of the old address space any more; now the device forgets what it got.
        if (error == Errno.Success && place.State.HasAts)
        {
            error = DeviceInvalidation.Invalidate(this, place.State, new(place.Pasid), PcieInvalidation.Everything);
        }

        // What it asked for until then is in the queue when this is done (section 7.10): the core answers it.
        return error == Errno.Success && place.State.HasPageRequests && _extended.Has(ExtendedCapability.PageRequestDrainBit)
            ? _queue!.SubmitAndWait([], drainsPageRequests: true)
            : error;
    }

    // From absent to present.
    private Errno Unblock(in EntryPlace place, in ContextTarget next)
    {
        Errno error = WriteEntry(place, next);
        if (error != Errno.Success || !MapsNeedInvalidation)
        {
            return error;
        }

        // Absence is cached under domain 0, in the IOTLB under the domain (sections 6.1, 6.2.2, 6.2.3).
        return _queue!.SubmitAndWait(
        [
            IsScalable ? QueueDescriptor.PasidEntry(0, place.Pasid) : QueueDescriptor.Context(place.State.SourceId, 0),
            FlushOf(next, place.Pasid),
        ]);
    }

    // Back to what was in force, as far as the hardware lets itself be told.
    private void Restore(in EntryPlace place, in ContextTarget old)
    {
        if (old.IsValid)
        {
            _ = Unblock(place, old);
        }
    }

    // Sections 6.5.2.1 to 6.5.2.4, by what the entry was before the change.
    private Errno Invalidate(in EntryPlace place, in ContextTarget old)
    {
        QueueDescriptor entry = IsScalable
            ? QueueDescriptor.PasidEntry(old.DomainId, place.Pasid)
            : QueueDescriptor.Context(place.State.SourceId, old.DomainId);
        return IsScalable && old.Type == PasidTranslationType.PassThrough && (_options.Quirks & VtdQuirks.PassThroughStays) != 0
            ? _queue!.SubmitAndWait([QueueDescriptor.Context(place.State.SourceId, 0), entry, FlushOf(old, place.Pasid)])
            : _queue!.SubmitAndWait([entry, FlushOf(old, place.Pasid)]);
    }

    // What was translated through a target.
    private QueueDescriptor FlushOf(in ContextTarget target, uint pasid) => target.Type == PasidTranslationType.FirstStage
        ? QueueDescriptor.FirstStage(target.DomainId, pasid)
        : QueueDescriptor.Translations(target.DomainId, DrainBits);

    // Everything that was cached of a device whose context is not present any more.
    private Errno InvalidateReleased(DeviceState state)
    {
        Errno error = IsScalable
            ? _queue!.SubmitAndWait([QueueDescriptor.Context(state.SourceId, 0), QueueDescriptor.AllPasids])
            : _queue!.SubmitAndWait([QueueDescriptor.Context(state.SourceId, state.Attached.GetValueOrDefault(0u).DomainId)]);
        foreach ((uint pasid, ContextTarget target) in state.Attached)
        {
            error = error == Errno.Success ? _queue.SubmitAndWait([FlushOf(target, pasid)]) : error;
            if (error == Errno.Success && state.HasAts)
            {
                error = DeviceInvalidation.Invalidate(this, state, new(pasid), PcieInvalidation.Everything);
            }
        }

        return error;
    }

    // The doubleword with P goes first when the entry goes, and comes last when it comes.
    private Errno WriteEntry(in EntryPlace place, in ContextTarget target)
    {
        PhysicalAddress at = place.Entry;
        bool isWritten = !target.IsValid ? Store(at, 0)
            : !IsScalable ? Store(at + 8, target.LegacyHigh) && Store(at, target.LegacyLow(place.State.HasAts))
            : Store(at + 8, target.Word1) && Store(at + 16, target.Word2) && Store(at, target.Word0 | PasidTableEntry.Word0PresentBit);
        return isWritten ? Errno.Success : Errno.IoError;
    }

    private bool Store(PhysicalAddress address, ulong value) => _memory.Write64(address, value) == MemoryStatus.Success;
}
