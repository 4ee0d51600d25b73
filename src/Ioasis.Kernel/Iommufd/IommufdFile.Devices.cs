using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>Page tables, and the devices that are bound and attached.</content>
internal sealed partial class IommufdFile
{
    private const HwptAllocFlags KnownHwptFlags =
        HwptAllocFlags.NestParent | HwptAllocFlags.DirtyTracking | HwptAllocFlags.FaultIdValid | HwptAllocFlags.Pasid;

    /// <summary>Takes a device, and its group, under this descriptor's control.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> if the group is under another's.</returns>
    public Errno Bind(IommuDevice device, out DeviceObject? bound)
    {
        bound = null;
        using (_attachLock.Acquire())
        {
            Errno error = device.Group.ClaimDma(this);
            if (error != Errno.Success)
            {
                return error;
            }

            if (!_groups.TryGetValue(device.Group.Id, out GroupBinding? group))
            {
                group = new(device.Group);
                _groups.Add(device.Group.Id, group);
            }

            group.Bound++;
            DeviceObject added = new(this, device, group);

            // The file that binds is a user, so that nobody destroys the object under it.
            added.Use();
            error = _objects.Add(added);
            if (error != Errno.Success)
            {
                ReleaseGroupLocked(group);
                return error;
            }

            bound = added;
            return Errno.Success;
        }
    }

    /// <summary>Undoes <see cref="Bind"/>, and before it the attach.</summary>
    public void Unbind(DeviceObject device)
    {
        _ = Detach(device);
        device.Unuse();
        _objects.DestroyAndWait(device);
    }

    /// <summary>Attaches a device to a table or an address space, or switches it there.</summary>
    /// <param name="device">A bound device.</param>
    /// <param name="pageTableId">In: an address space or a table. Out: the table.</param>
    public Errno Attach(DeviceObject device, ref uint pageTableId)
    {
        Errno error = _objects.TryGet(pageTableId, out KernelObject? target);
        if (error != Errno.Success)
        {
            return error;
        }

        PageTableObject? old;
        using (_attachLock.Acquire())
        {
            error = target switch
            {
                PageTableObject table => AttachToTable(device, table, ref pageTableId, out old),
                IoasObject ioas => AttachToSpace(device, ioas, ref pageTableId, out old),
                _ => Fail(Errno.InvalidArgument, out old),
            };
        }

        target!.Unuse();
        Drop(old);
        return error;
    }

    /// <summary>Detaches a device, if it is attached: when the last of its group goes, the group's DMA faults.</summary>
    public Errno Detach(DeviceObject device)
    {
        PageTableObject? table;
        using (_attachLock.Acquire())
        {
            GroupBinding group = device.Group;
            table = group.Table;
            if (table is null || !group.Attached.Remove(device))
            {
                return Errno.Success;
            }

            if (group.Attached.Count == 0)
            {
                Errno error = group.Group.Detach();
                if (error != Errno.Success)
                {
                    // The IOMMU may still use the table: it, its memory and the device's place are kept for ever.
                    return error;
                }

                group.Table = null;
            }

            table.Direct.Remove(device);
            table.Ioas.Space.ReleaseRegions(device);
            table.Unuse();
        }

        Drop(table);
        return Errno.Success;
    }

    /// <summary>A device object is gone: gives back its share of the group.</summary>
    internal void ReleaseGroup(GroupBinding group)
    {
        using (_attachLock.Acquire())
        {
            ReleaseGroupLocked(group);
        }
    }

    /// <summary>A table is gone: its address space need not know it any more.</summary>
    internal void ForgetTable(PageTableObject table)
    {
        using (_attachLock.Acquire())
        {
            _ = table.Ioas.Tables.Remove(table);
        }
    }

    private static Errno HwptAllocCall(IommufdFile file, ref IommuHwptAlloc argument)
    {
        if ((argument.Flags & ~KnownHwptFlags) != 0 || argument.Reserved != 0 || argument.Reserved2 != 0)
        {
            return Errno.NotSupported;
        }

        if ((argument.DataType == HwptDataType.None) != (argument.DataLength == 0))
        {
            return Errno.InvalidArgument;
        }

        Errno error = file._objects.TryGet(argument.DeviceId, out DeviceObject? device);
        if (error != Errno.Success)
        {
            return error;
        }

        // A number that leads nowhere is an invalid argument here, unlike elsewhere: so Linux.
        if (file._objects.TryGet(argument.PageTableId, out KernelObject? target) != Errno.Success)
        {
            error = Errno.InvalidArgument;
        }
        else
        {
            error = target switch
            {
                IoasObject ioas => file.AllocateTable(device!.Device, ioas, ref argument),

                // Nested tables: a parent has to be made as one, and then the kind of data has to be known.
                PageTableObject { Traits: var traits } when (traits & HwptTraits.NestParent) != 0 => Errno.NotSupported,
                _ => Errno.InvalidArgument,
            };
            target!.Unuse();
        }

        device!.Unuse();
        return error;
    }

    private static Errno HwInfoCall(IommufdFile file, ref IommuHwInfo argument)
    {
        if ((argument.Flags & ~1u) != 0 || argument.Reserved[0] != 0 || argument.Reserved[1] != 0 || argument.Reserved[2] != 0)
        {
            return Errno.NotSupported;
        }

        // Bit 0 asks for a kind of data; there is none but "none" yet.
        if ((argument.Flags & 1) != 0 && argument.DataType != 0)
        {
            return Errno.NotSupported;
        }

        Errno error = file._objects.TryGet(argument.DeviceId, out DeviceObject? bound);
        if (error != Errno.Success)
        {
            return error;
        }

        IommuDevice device = bound!.Device;
        bound.Unuse();
        error = file.ClearUser(argument.DataAddress, argument.DataLength);
        if (error != Errno.Success)
        {
            return error;
        }

        argument.DataLength = 0;
        argument.DataType = 0;
        argument.OutMaxPasidLog2 = (byte)Math.Min(device.PasidBits, device.Iommu.Capabilities.PasidBits);
        argument.OutCapabilities =
            device.Iommu.Capabilities.DirtyTracking ? HwCapabilities.DirtyTracking : HwCapabilities.None;
        return Errno.Success;
    }

    private Errno ClearUser(ulong address, uint length)
    {
        Span<byte> zeros = stackalloc byte[256];
        zeros.Clear();
        while (length > 0)
        {
            int part = (int)Math.Min((uint)zeros.Length, length);
            Errno error = Kernel.UserMemory.Write(address, zeros[..part]);
            if (error != Errno.Success)
            {
                return error;
            }

            address += (uint)part;
            length -= (uint)part;
        }

        return Errno.Success;
    }

    private Errno AllocateTable(IommuDevice device, IoasObject ioas, ref IommuHwptAlloc argument)
    {
        IommuCapabilities capabilities = device.Iommu.Capabilities;
        bool nestParent = (argument.Flags & HwptAllocFlags.NestParent) != 0;
        bool dirty = (argument.Flags & HwptAllocFlags.DirtyTracking) != 0;
        bool pasid = (argument.Flags & HwptAllocFlags.Pasid) != 0;
        bool fault = (argument.Flags & HwptAllocFlags.FaultIdValid) != 0;
        if (argument.DataType != HwptDataType.None
            || (nestParent && (!capabilities.Nesting || fault))
            || (dirty && !capabilities.DirtyTracking)
            || (pasid && capabilities.PasidBits == 0))
        {
            return Errno.NotSupported;
        }

        if (fault)
        {
            // There is no call that makes a fault queue yet, so no number can name one.
            return Errno.NoEntry;
        }

        HwptTraits traits = (nestParent ? HwptTraits.NestParent : 0)
            | (dirty ? HwptTraits.DirtyTracking : 0)
            | (pasid ? HwptTraits.Pasid : 0);
        using (_attachLock.Acquire())
        {
            Errno error = AddTable(device, ioas, traits, out PageTableObject? table);
            argument.OutHwptId = table?.Id ?? argument.OutHwptId;
            return error;
        }
    }

    private Errno AddTable(IommuDevice device, IoasObject ioas, HwptTraits traits, out PageTableObject? table)
    {
        Errno error = PageTableObject.TryMake(this, ioas, device, traits, out table);
        if (error != Errno.Success)
        {
            return error;
        }

        error = _objects.Add(table!);
        if (error != Errno.Success)
        {
            table!.Destroy();
            table = null;
        }

        return error;
    }

    // An automatic table that the device can use, or a new one (Linux: auto domains).
    private Errno AttachToSpace(DeviceObject device, IoasObject ioas, ref uint id, out PageTableObject? old)
    {
        foreach (PageTableObject table in ioas.Tables)
        {
            if ((table.Traits & HwptTraits.Automatic) == 0 || !table.TryUse())
            {
                continue;
            }

            Errno error = AttachToTable(device, table, ref id, out old);
            table.Unuse();
            if (error != Errno.InvalidArgument)
            {
                return error;
            }
        }

        Errno made = AddTable(device.Device, ioas, HwptTraits.Automatic, out PageTableObject? added);
        if (made != Errno.Success)
        {
            return Fail(made, out old);
        }

        made = AttachToTable(device, added!, ref id, out old);
        if (made != Errno.Success)
        {
            _objects.DestroyIfUnused(added!);
        }

        return made;
    }

    private static Errno AttachToTable(DeviceObject device, PageTableObject table, ref uint id, out PageTableObject? old)
    {
        Errno error = device.IsAttached ? Replace(device, table, out old) : AttachFirst(device, table, out old);
        if (error == Errno.Success)
        {
            id = table.Id;
        }

        return error;
    }

    private static Errno AttachFirst(DeviceObject device, PageTableObject table, out PageTableObject? old)
    {
        old = null;
        GroupBinding group = device.Group;
        if (group.Table is not null && group.Table != table)
        {
            // The group is attached as one: its other devices decide.
            return Errno.InvalidArgument;
        }

        Errno error = Prepare(device, table);
        if (error != Errno.Success)
        {
            return error;
        }

        if (group.Attached.Count == 0)
        {
            error = group.Group.Attach(table.Domain);
            if (error != Errno.Success)
            {
                Unprepare(device, table, true);
                return error;
            }

            group.Table = table;
        }

        group.Attached.Add(device);
        table.Use();
        return Errno.Success;
    }

    private static Errno Replace(DeviceObject device, PageTableObject table, out PageTableObject? old)
    {
        old = null;
        GroupBinding group = device.Group;
        PageTableObject current = group.Table!;
        if (current == table)
        {
            return Errno.Success;
        }

        bool sameSpace = current.Ioas == table.Ioas;
        int prepared = 0;
        Errno error = Errno.Success;
        while (prepared < group.Attached.Count)
        {
            DeviceObject member = group.Attached[prepared];
            error = sameSpace
                ? table.Direct.Add(member.Device.GetReservedRegions(), member)
                : Prepare(member, table);
            if (error != Errno.Success)
            {
                break;
            }

            prepared++;
        }

        if (error == Errno.Success)
        {
            error = group.Group.Attach(table.Domain);
        }

        if (error != Errno.Success)
        {
            for (int i = 0; i < prepared; i++)
            {
                Unprepare(group.Attached[i], table, !sameSpace);
            }

            return error;
        }

        foreach (DeviceObject member in group.Attached)
        {
            Unprepare(member, current, !sameSpace);
            table.Use();
            current.Unuse();
        }

        group.Table = table;
        old = current;
        return Errno.Success;
    }

    private static Errno Prepare(DeviceObject device, PageTableObject table)
    {
        IReadOnlyList<ReservedRegion> regions = device.Device.GetReservedRegions();
        Errno error = table.Ioas.Space.ReserveRegions(regions, device);
        if (error == Errno.Success)
        {
            error = table.Direct.Add(regions, device);
            if (error != Errno.Success)
            {
                table.Ioas.Space.ReleaseRegions(device);
            }
        }

        return error;
    }

    private static void Unprepare(DeviceObject device, PageTableObject table, bool regions)
    {
        table.Direct.Remove(device);
        if (regions)
        {
            table.Ioas.Space.ReleaseRegions(device);
        }
    }

    private static Errno Fail(Errno error, out PageTableObject? old)
    {
        old = null;
        return error;
    }

    private void Drop(PageTableObject? table)
    {
        if (table is not null && (table.Traits & HwptTraits.Automatic) != 0)
        {
            _objects.DestroyIfUnused(table);
        }
    }

    private void ReleaseGroupLocked(GroupBinding group)
    {
        group.Group.ReleaseDma(this);
        if (--group.Bound == 0)
        {
            _ = _groups.Remove(group.Group.Id);
        }
    }
}
