using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <content>
/// What a context points at next, and the way there, in the order that chapter 6 asks: V is cleared first and set last, and
/// whatever a context gave out is invalidated before the next takes its place.
/// </content>
internal sealed partial class RiscVIommuInstance
{
    /// <summary>A context to be switched.</summary>
    /// <param name="State">The device.</param>
    /// <param name="Pasid">0 for requests without PASID.</param>
    /// <param name="Process">The process context, if the device has a process directory.</param>
    private readonly record struct ContextPlace(DeviceState State, uint Pasid, PhysicalAddress Process)
    {
        /// <summary>Whether a target is in the device context rather than in a process context.</summary>
        public bool IsOnDevice(in ContextTarget target) => State.Processes is null || target.IsOnDevice;
    }

    // The bond is visible to invalidators before the hardware can load its PSCID or GSCID (S4.7).
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
            case RiscVSvaDomain process:
                Errno error = process.Acquire(this, out Bond? bond);
                if (error == Errno.Success)
                {
                    target = new(true, process.Pointer, bond, NewAts(state, pasid, bond!));
                }

                return error;
            case RiscVPagingDomain domain:
                error = domain.Acquire(this, out bond);
                if (error == Errno.Success)
                {
                    target = new(true, domain.IsSecondStage ? 0 : domain.Pointer, bond, NewAts(state, pasid, bond!))
                    {
                        SecondStage = domain.IsSecondStage ? domain : null,
                    };
                }

                return error;
            case RiscVNestedDomain nested:
                return TryGetNestedTarget(state, pasid, nested, out target);
            default:
                return Errno.InvalidArgument;
        }
    }

    private Errno TryGetNestedTarget(DeviceState state, Pasid pasid, RiscVNestedDomain nested, out ContextTarget target)
    {
        target = ContextTarget.Blocked;
        if (nested.MissingFrom(_capabilities) is { } missing)
        {
            _options.Logger.LogWarning("{Name}: device {Device:x6} cannot be nested: {Missing}", Name, state.Id, missing);
            return Errno.InvalidArgument;
        }

        Errno error = nested.SecondStage.Acquire(this, out Bond? bond);
        if (error == Errno.Success)
        {
            GuestAttachment guest = new(nested, this, state.Id);
            nested.Add(guest);
            target = new(true, nested.FirstStage, bond, NewAts(state, pasid, bond!, isGuest: true), guest)
            {
                SecondStage = nested.SecondStage,
            };
        }

        return error;
    }

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

    // The fields of a context cannot be changed together, and the hardware may read them in any order, so that a context which
    // is valid becomes invalid first, and everything that was cached through it goes, before it becomes valid again. Where a
    // single doubleword changes there is no gap.
    private Errno Switch(in ContextPlace place, in ContextTarget old, in ContextTarget next, out bool isClean)
    {
        isClean = true;
        if (old.IsValid && next.IsValid && old.Bond == next.Bond && place.IsOnDevice(old) && place.IsOnDevice(next))
        {
            DeviceContextImage before = ImageOf(place.State, old);
            DeviceContextImage after = ImageOf(place.State, next);
            if (before.SingleDifference(after) is >= 0 and var changed)
            {
                return SwitchInPlace(place, old, next, before[changed], after[changed], changed, out isClean);
            }
        }

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
                // The hardware may have seen the new context: what it took from there must go too.
                isClean = Block(place, next) == Errno.Success;
                Restore(place, old);
                return error;
            }
        }

        return Errno.Success;
    }

    // One doubleword is written at once: the hardware uses the old context or the new one, nothing in between (section 6.3.1).
    private Errno SwitchInPlace(
        in ContextPlace place, in ContextTarget old, in ContextTarget next, ulong before, ulong after, int index, out bool isClean)
    {
        PhysicalAddress at = place.State.Context + (ulong)(index * 8);
        isClean = true;
        Errno error = Store(at, after) ? Invalidate(place, old) : Errno.IoError;
        if (error == Errno.Success)
        {
            error = ForgetInDevice(place, old);
        }

        if (error != Errno.Success)
        {
            isClean = Store(at, before) && Invalidate(place, next) == Errno.Success
                && ForgetInDevice(place, next) == Errno.Success;
        }

        return error;
    }

    // From valid to invalid; when it succeeds, nothing of the old target is in use or cached.
    private Errno Block(in ContextPlace place, in ContextTarget old)
    {
        Errno error;
        if (place.IsOnDevice(old))
        {
            CloseGate(place.State);
            error = Store(place.State.Context + DeviceContextOffset.TranslationControl, 0) ? Errno.Success : Errno.IoError;
            error = error == Errno.Success ? Invalidate(place, old) : error;
            if (error == Errno.Success && place.State.Processes is not null)
            {
                error = WriteDirectoryContext(place.State);
            }

            OpenGate(place.State);
        }
        else
        {
            error = WriteProcessContext(place.Process, ContextTarget.Blocked);
            error = error == Errno.Success ? Invalidate(place, old) : error;
        }

        // The IOMMU gives out nothing of the old address space any more; now the device forgets what it got.
        return error == Errno.Success ? ForgetInDevice(place, old) : error;
    }

    // From invalid to valid. No invalid entry was cached, but an emulated IOMMU may want to be told (section 6.3.9).
    private Errno Unblock(in ContextPlace place, in ContextTarget next)
    {
        Errno error;
        if (!place.IsOnDevice(next))
        {
            error = WriteProcessContext(place.Process, next);
        }
        else if (place.State.Processes is null)
        {
            error = WriteDeviceContext(place.State.Context, ImageOf(place.State, next));
        }
        else
        {
            // The device context is valid, with a directory that gives out nothing.
            CloseGate(place.State);
            error = Store(place.State.Context + DeviceContextOffset.TranslationControl, 0) ? Errno.Success : Errno.IoError;
            error = error == Errno.Success ? Invalidate(place, ContextTarget.Blocked, onDevice: true) : error;
            error = error == Errno.Success ? WriteDeviceContext(place.State.Context, ImageOf(place.State, next)) : error;
            error = error == Errno.Success ? Invalidate(place, ContextTarget.Blocked, onDevice: true) : error;
            OpenGate(place.State);
            return error;
        }

        return error != Errno.Success ? error : Invalidate(place, ContextTarget.Blocked);
    }

    // Back to what was in force, as far as the hardware lets itself be told.
    private void Restore(in ContextPlace place, in ContextTarget old)
    {
        if (place.State.Processes is null)
        {
            _ = WriteDeviceContext(place.State.Context, ImageOf(place.State, old));
            return;
        }

        if (!old.IsOnDevice)
        {
            _ = WriteProcessContext(place.Process, old);
        }

        _ = WriteDeviceContext(place.State.Context, ImageOf(place.State, old));
        _ = Invalidate(place, ContextTarget.Blocked, onDevice: true);
    }

    // What a device that caches translations of a target has to forget before they mean something else.
    private Errno ForgetInDevice(in ContextPlace place, in ContextTarget old)
    {
        DeviceState state = place.State;
        if (!state.HasAts || state.IsCutOff)
        {
            return Errno.Success;
        }

        Span<Command> commands = stackalloc Command[2];
        int count = 1;
        if (old.Ats is { } ats)
        {
            count = AtsInvalidation.Build(ats, PcieInvalidation.Everything, commands);
        }
        else
        {
            commands[0] = AtsInvalidation.For(state.Id, new(place.Pasid), PcieInvalidation.Everything);
        }

        Errno error = _commands!.SubmitAndWait(commands[..count]);
        return error == Errno.TimedOut ? Isolate(state) : error;
    }

    // Sections 6.3.1 and 6.3.2, by what the context was before the change.
    private Errno Invalidate(in ContextPlace place, in ContextTarget old, bool onDevice = false)
    {
        Span<Command> commands = stackalloc Command[3];
        commands[0] = onDevice || place.IsOnDevice(old)
            ? Command.InvalidateDeviceDirectory(place.State.Id)
            : Command.InvalidateProcessDirectory(place.State.Id, place.Pasid);
        return _commands!.SubmitAndWait(commands[..(1 + FlushOf(old, commands[1..]))]);
    }

    // What was cached through a target: at most two commands. A guest's first stages are cached under the GSCID too.
    private int FlushOf(in ContextTarget target, Span<Command> commands)
    {
        if (target.Bond is not { } bond)
        {
            return 0;
        }

        _ = Interlocked.Increment(ref _addressSpaceFlushes);
        commands[0] = bond.Tag.InvalidateAll;
        if (target.Guest is null)
        {
            return 1;
        }

        commands[1] = Command.InvalidateFirstStage(bond.Tag.Identifier, null, null);
        return 2;
    }

    private Errno InvalidateReleased(DeviceState state)
    {
        Span<Command> commands = stackalloc Command[3];
        commands[0] = Command.InvalidateDeviceDirectory(state.Id);
        int used = 1;
        ContextTarget target = state.Attached.GetValueOrDefault(0u);
        if (state.Processes is not null && !target.IsOnDevice)
        {
            commands[used++] = Command.InvalidateFirstStage(null, null, null);
        }
        else
        {
            used += FlushOf(target, commands[used..]);
        }

        return _commands!.SubmitAndWait(commands[..used]);
    }

    private static void CloseGate(DeviceState state)
    {
        if (state.HasAts)
        {
            state.Gate.Close();
        }
    }

    private static void OpenGate(DeviceState state)
    {
        if (state.HasAts)
        {
            state.Gate.Open();
        }
    }
}
