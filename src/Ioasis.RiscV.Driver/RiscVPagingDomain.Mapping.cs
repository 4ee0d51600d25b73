using System.Runtime.CompilerServices;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>Maps, unmaps and invalidations.</content>
public sealed partial class RiscVPagingDomain
{
    private const int MaxBondsOnStack = 16;

    /// <inheritdoc/>
    public override AddressRange Aperture => _table.Aperture;

    /// <inheritdoc/>
    public override ulong PageSizes => _table.PageSizes;

    /// <inheritdoc/>
    public override long TableBytes => _table.TableBytes;

    /// <inheritdoc/>
    /// <remarks>
    /// Entries that were invalid are not cached (section 6.3.8, S4.6), so that there is nothing to invalidate, unless a large
    /// leaf took the place of an empty table.
    /// </remarks>
    public override Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access)
    {
        InvalidationGather gather = default;
        Errno error = _table.Map(iova, address, length, access, ref gather);
        return gather.IsEmpty ? error : FinishMap(iova, length, error, ref gather);
    }

    /// <inheritdoc/>
    public override Errno TryUnmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped) =>
        _table.Unmap(iova, length, ref gather, out unmapped);

    /// <inheritdoc/>
    public override ulong Unmap(Iova iova, ulong length, ref InvalidationGather gather) =>
        _table.Unmap(iova, length, ref gather, out ulong unmapped) == Errno.Success ? unmapped : 0;

    /// <inheritdoc/>
    public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize) =>
        _table.TryTranslate(iova, out address, out access, out leafSize);

    /// <inheritdoc/>
    public override Errno Sync(ref InvalidationGather gather)
    {
        if (gather.IsEmpty)
        {
            return Errno.Success;
        }

        // The entries are cleared before the bonds are read; see Acquire for the other side.
        Interlocked.MemoryBarrier();
        Bond[] bonds = Volatile.Read(ref _bonds);
        if (bonds.Length > 0)
        {
            if ((bonds[0].Iommu.Mutations & DriverMutation.TablesFreedBeforeFence) != 0)
            {
                FreeTables(gather);
            }

            Errno error = bonds.Length == 1 ? InvalidateIn(bonds[0], gather) : InvalidateInAll(bonds, gather);
            AtsBond[] devices = Volatile.Read(ref _atsBonds);
            if (error == Errno.Success && devices.Length > 0)
            {
                error = InvalidateInDevices(devices, gather.Range);
            }

            if (error != Errno.Success)
            {
                return error;
            }

            if ((bonds[0].Iommu.Mutations & DriverMutation.TablesFreedBeforeFence) != 0)
            {
                gather.Clear();
                return Errno.Success;
            }
        }

        _table.Release(ref gather);
        return Errno.Success;
    }

    // Nobody may walk a table that a leaf replaced when the map returns. If the IOMMU does not confirm it, the map is undone
    // and the tables are kept until the domain is gone.
    private Errno FinishMap(Iova iova, ulong length, Errno error, ref InvalidationGather gather)
    {
        Errno synced = Sync(ref gather);
        if (synced == Errno.Success)
        {
            return error;
        }

        if (error == Errno.Success)
        {
            _ = _table.Unmap(iova, length, ref gather, out _);
        }

        using (_bondLock.Acquire())
        {
            _stranded.AddRange(gather.FreedTables);
        }

        gather.Clear();
        return error == Errno.Success ? synced : error;
    }

    // One IOMMU: commands, fence and one look at the head under one lock.
    [SkipLocalsInit]
    private static Errno InvalidateIn(Bond bond, in InvalidationGather gather)
    {
        RiscVIommuInstance iommu = bond.Iommu;
        if (iommu.Mutations != DriverMutation.None && IsMutated(bond, gather))
        {
            return Errno.Success;
        }

        Span<Command> commands = stackalloc Command[InvalidationPlan.MaxCommands];
        int count = Plan(bond, gather, commands);
        Errno error = iommu.Commands.SubmitAndWait(commands[..count]);

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
            if (bonds[i].Iommu.Mutations != DriverMutation.None && IsMutated(bonds[i], gather))
            {
                continue;
            }

            int count = Plan(bonds[i], gather, commands);
            Errno error = bonds[i].Iommu.Commands.Submit(commands[..count], out tickets[i]);
            if (error is not (Errno.Success or Errno.NoDevice))
            {
                tickets[i] = 0;
                result = error;
            }
        }

        for (int i = 0; i < bonds.Length; i++)
        {
            Errno error = tickets[i] == 0 ? Errno.Success : bonds[i].Iommu.Commands.Wait(tickets[i]);
            if (error is not (Errno.Success or Errno.NoDevice))
            {
                result = error;
            }
        }

        if (rented is not null)
        {
            System.Buffers.ArrayPool<ulong>.Shared.Return(rented);
        }

        return result;
    }

    // The IOMMUs have completed, so that devices fetch nothing stale again (section 6.3.7). A device that does not answer is cut
    // off: then it reaches nothing, stale or not.
    private static Errno InvalidateInDevices(AtsBond[] devices, AddressRange range)
    {
        ulong payload = AtsInvalidation.PayloadFor(range);
        ulong[] tickets = new ulong[devices.Length];
        Errno result = Errno.Success;
        for (int i = 0; i < devices.Length; i++)
        {
            Command command = AtsInvalidation.For(devices[i].Device.Id, devices[i].Pasid, payload);
            Errno error = devices[i].Device.IsCutOff
                ? Errno.NoDevice
                : devices[i].Iommu.Commands.Submit([command], out tickets[i]);
            if (error is not (Errno.Success or Errno.NoDevice))
            {
                result = error;
            }
        }

        for (int i = 0; i < devices.Length; i++)
        {
            Errno error = tickets[i] == 0 ? Errno.Success : devices[i].Iommu.Commands.Wait(tickets[i]);
            if (error == Errno.TimedOut)
            {
                error = devices[i].Iommu.Isolate(devices[i].Device);
            }

            if (error is not (Errno.Success or Errno.NoDevice))
            {
                result = error;
            }
        }

        return result;
    }

    private static int Plan(Bond bond, in InvalidationGather gather, Span<Command> commands)
    {
        RiscVIommuInstance iommu = bond.Iommu;
        int count = InvalidationPlan.Build(
            gather, iommu.Hardware, bond.Pscid, iommu.CommandLimit, commands, out bool isCollapsed);
        iommu.CountSynchronisation(InvalidationPlan.IsFlush(commands[0]), isCollapsed);
        return count;
    }

    private void FreeTables(in InvalidationGather gather)
    {
        foreach ((PhysicalAddress table, int sizeLog2) in gather.FreedTables)
        {
            _pages.Free(table, sizeLog2);
        }
    }
}
