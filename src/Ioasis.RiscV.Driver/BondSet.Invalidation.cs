using System.Runtime.CompilerServices;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>Invalidations in every IOMMU, then in every device that caches.</content>
internal sealed partial class BondSet
{
    private const int MaxBondsOnStack = 16;

    /// <summary>
    /// Invalidates what a gather names wherever it may be cached, and waits for it. The table entries were cleared before.
    /// </summary>
    /// <returns>Success, or <see cref="Errno.IoError"/> if an IOMMU could not be made to complete it.</returns>
    public Errno Invalidate(in InvalidationGather gather)
    {
        // The entries are cleared before the bonds are read; see Acquire for the other side.
        Interlocked.MemoryBarrier();
        Bond[] bonds = Volatile.Read(ref _bonds);
        if (bonds.Length == 0)
        {
            return Errno.Success;
        }

        Errno error = bonds.Length == 1 ? InvalidateIn(bonds[0], gather) : InvalidateInAll(bonds, gather);
        AtsBond[] devices = Volatile.Read(ref _atsBonds);
        return error == Errno.Success && devices.Length > 0 ? InvalidateInDevices(devices, gather.Range) : error;
    }

    /// <summary>
    /// Carries out the same commands in every IOMMU, all queued before any fence is awaited (S4.13), and has devices that cache
    /// for a guest forget a range of its addresses.
    /// </summary>
    /// <param name="build">Makes the commands for a bond, at most <see cref="InvalidationPlan.MaxCommands"/>; returns how many.</param>
    /// <param name="state">What <paramref name="build"/> gets.</param>
    /// <param name="guestRange">What guests' devices forget; null for nothing.</param>
    public Errno Invalidate<TState>(BuildCommands<TState> build, TState state, AddressRange? guestRange)
        where TState : allows ref struct
    {
        Interlocked.MemoryBarrier();
        Bond[] bonds = Volatile.Read(ref _bonds);
        if (bonds.Length == 0)
        {
            return Errno.Success;
        }

        Span<Command> commands = stackalloc Command[InvalidationPlan.MaxCommands];
        Errno result = bonds.Length == 1
            ? CarryOutIn(bonds[0], build, state, commands)
            : CarryOutInAll(bonds, build, state, commands);
        return result == Errno.Success && guestRange is { } range
            ? InvalidateInGuestsDevices(range)
            : result;
    }

    private static Errno CarryOutIn<TState>(Bond bond, BuildCommands<TState> build, TState state, Span<Command> commands)
        where TState : allows ref struct
    {
        int count = build(bond, state, commands);
        Errno error = count == 0 ? Errno.Success : bond.Iommu.Commands.SubmitAndWait(commands[..count]);
        return error == Errno.NoDevice ? Errno.Success : error;
    }

    private static Errno CarryOutInAll<TState>(
        Bond[] bonds, BuildCommands<TState> build, TState state, Span<Command> commands)
        where TState : allows ref struct
    {
        ulong[] tickets = new ulong[bonds.Length];
        Errno result = Errno.Success;
        for (int i = 0; i < bonds.Length; i++)
        {
            int count = build(bonds[i], state, commands);
            Errno error = count == 0 ? Errno.Success : bonds[i].Iommu.Commands.Submit(commands[..count], BatchKind.None, out tickets[i]);
            result = error is Errno.Success or Errno.NoDevice ? result : error;
        }

        return WaitForAll(bonds, tickets, result);
    }

    private Errno InvalidateInGuestsDevices(AddressRange range)
    {
        AtsBond[] devices = Volatile.Read(ref _atsBonds);
        return devices.Length == 0
            ? Errno.Success
            : InvalidateInDevices(Array.FindAll(devices, static bond => bond.IsGuest), range, isGuestRange: true);
    }

    /// <summary>Makes commands for one bond and returns how many.</summary>
    public delegate int BuildCommands<TState>(Bond bond, TState state, Span<Command> commands)
        where TState : allows ref struct;

    // One IOMMU: commands, fence and one look at the head under one lock.
    [SkipLocalsInit]
    private static Errno InvalidateIn(Bond bond, in InvalidationGather gather)
    {
        RiscVIommuInstance iommu = bond.Iommu;
        Span<Command> commands = stackalloc Command[InvalidationPlan.MaxCommands];
        int count = Plan(bond, gather, commands, out BatchKind kind);
        Errno error = iommu.Commands.SubmitAndWait(commands[..count], kind);

        // An IOMMU that was removed is off and translates nothing.
        return error == Errno.NoDevice ? Errno.Success : error;
    }

    // All IOMMUs are given their commands before any is waited for (S4.13).
    [SkipLocalsInit]
    private static Errno InvalidateInAll(Bond[] bonds, in InvalidationGather gather)
    {
        ulong[]? rented = null;
        Span<ulong> tickets = bonds.Length <= MaxBondsOnStack
            ? stackalloc ulong[MaxBondsOnStack]
            : rented = System.Buffers.ArrayPool<ulong>.Shared.Rent(bonds.Length);
        Span<Command> commands = stackalloc Command[InvalidationPlan.MaxCommands];
        Errno result = Errno.Success;
        for (int i = 0; i < bonds.Length; i++)
        {
            tickets[i] = 0;
            int count = Plan(bonds[i], gather, commands, out BatchKind kind);
            Errno error = bonds[i].Iommu.Commands.Submit(commands[..count], kind, out tickets[i]);
            if (error is not (Errno.Success or Errno.NoDevice))
            {
                tickets[i] = 0;
                result = error;
            }
        }

        result = WaitForAll(bonds, tickets, result);
        if (rented is not null)
        {
            System.Buffers.ArrayPool<ulong>.Shared.Return(rented);
        }

        return result;
    }

    private static Errno WaitForAll(Bond[] bonds, ReadOnlySpan<ulong> tickets, Errno result)
    {
        for (int i = 0; i < bonds.Length; i++)
        {
            Errno error = tickets[i] == 0 ? Errno.Success : bonds[i].Iommu.Commands.Wait(tickets[i]);
            result = error is Errno.Success or Errno.NoDevice ? result : error;
        }

        return result;
    }

    // The IOMMUs have completed, so that devices fetch nothing stale again (section 6.3.7). All devices are asked before any is
    // waited for; those whose context is changing at the moment come last, for nobody may wait at one gate inside another.
    private static Errno InvalidateInDevices(AtsBond[] devices, AddressRange range, bool isGuestRange = false)
    {
        const ulong Deferred = ulong.MaxValue;
        ulong payload = PcieInvalidation.PayloadFor(range);
        ulong guestPayload = isGuestRange ? payload : PcieInvalidation.Everything;
        ulong[] tickets = new ulong[devices.Length];
        Errno result = Errno.Success;
        for (int i = 0; i < devices.Length; i++)
        {
            AtsBond bond = devices[i];
            if (!bond.Device.Gate.TryEnter())
            {
                tickets[i] = Deferred;
                continue;
            }

            Errno error = Ask(bond, bond.IsGuest ? guestPayload : payload, out tickets[i]);
            result = error == Errno.Success ? result : error;
        }

        for (int i = 0; i < devices.Length; i++)
        {
            Errno error = tickets[i] == Deferred ? Errno.Success : WaitFor(devices[i], tickets[i]);
            result = error == Errno.Success ? result : error;
        }

        for (int i = 0; i < devices.Length; i++)
        {
            if (tickets[i] == Deferred)
            {
                AtsBond bond = devices[i];
                bond.Device.Gate.Enter();
                Errno error = Ask(bond, bond.IsGuest ? guestPayload : payload, out ulong ticket);
                Errno waited = WaitFor(bond, ticket);
                result = error != Errno.Success ? error : waited != Errno.Success ? waited : result;
            }
        }

        return result;
    }

    // Inside the gate; if there is nothing to wait for, it is left at once.
    private static Errno Ask(AtsBond bond, ulong payload, out ulong ticket)
    {
        ticket = 0;
        Errno error = Errno.Success;
        if (!bond.Device.IsCutOff)
        {
            Span<Command> commands = stackalloc Command[2];
            int count = AtsInvalidation.Build(bond, payload, commands);
            error = bond.Iommu.Commands.Submit(commands[..count], BatchKind.None, out ticket);
        }

        if (error != Errno.Success || ticket == 0)
        {
            ticket = 0;
            bond.Device.Gate.Leave();
        }

        return error == Errno.NoDevice ? Errno.Success : error;
    }

    // A device that does not answer is cut off: then it reaches nothing, stale or not.
    private static Errno WaitFor(AtsBond bond, ulong ticket)
    {
        if (ticket == 0)
        {
            return Errno.Success;
        }

        Errno error = bond.Iommu.Commands.Wait(ticket);
        bond.Device.Gate.Leave();
        if (error == Errno.TimedOut)
        {
            error = bond.Iommu.Isolate(bond.Device);
        }

        return error == Errno.NoDevice ? Errno.Success : error;
    }

    private static int Plan(Bond bond, in InvalidationGather gather, Span<Command> commands, out BatchKind kind)
    {
        RiscVIommuInstance iommu = bond.Iommu;
        RiscVQuirks quirks = iommu.Options.Quirks;
        if (quirks != RiscVQuirks.None
            && (((quirks & RiscVQuirks.SuperpagesInPieces) != 0 && gather.LeafSizes >= InvalidationPlan.SmallestSuperpage)
                || ((quirks & RiscVQuirks.GuestAddressesUnknown) != 0 && bond.Tag.IsSecondStage)))
        {
            commands[0] = bond.Tag.InvalidateAll;
            kind = BatchKind.Synchronisation | BatchKind.Flush;
            return 1;
        }

        int count = InvalidationPlan.Build(
            gather, iommu.Hardware, bond.Tag, iommu.CommandLimit, commands, out bool isCollapsed);
        kind = BatchKind.Synchronisation
            | (InvalidationPlan.IsFlush(commands[0]) ? BatchKind.Flush : 0) | (isCollapsed ? BatchKind.Collapse : 0);
        return count;
    }
}
