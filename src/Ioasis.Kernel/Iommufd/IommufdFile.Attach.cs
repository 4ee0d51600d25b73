using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Devices, and PASIDs of them, attached to tables.</content>
internal sealed partial class IommufdFile
{
    /// <summary>Attaches a device to a table or an address space, or switches it there.</summary>
    /// <param name="device">A bound device.</param>
    /// <param name="pageTableId">In: an address space or a table. Out: the table.</param>
    public Errno Attach(DeviceObject device, ref uint pageTableId) => Attach(device, Pasid.None, ref pageTableId);

    /// <summary>Attaches one PASID of a device, or switches it.</summary>
    /// <param name="device">A bound device.</param>
    /// <param name="pasid">1 to 2^20-1.</param>
    /// <param name="pageTableId">In: a table made for PASIDs. Out: the table.</param>
    /// <returns>
    /// As for a device; <see cref="Errno.InvalidArgument"/> also for a table that is not made for PASIDs, or a PASID out of
    /// range; <see cref="Errno.NotSupported"/> if the device has no PASIDs.
    /// </returns>
    public Errno AttachPasid(DeviceObject device, uint pasid, ref uint pageTableId) =>
        pasid is 0 or > Pasid.MaxValue ? Errno.InvalidArgument : Attach(device, new(pasid), ref pageTableId);

    /// <summary>Detaches a device, if it is attached: when the last of its group goes, the group's DMA faults.</summary>
    public Errno Detach(DeviceObject device) => Detach(device, Pasid.None);

    /// <summary>Detaches a PASID of a device, if it is attached.</summary>
    public Errno DetachPasid(DeviceObject device, uint pasid) =>
        pasid is 0 or > Pasid.MaxValue ? Errno.InvalidArgument : Detach(device, new(pasid));

    private Errno Attach(DeviceObject device, Pasid pasid, ref uint pageTableId)
    {
        Errno error = Attach(device, pasid, ref pageTableId, out HwptObject? old);
        Drop(old);
        return error;
    }

    private Errno Attach(DeviceObject device, Pasid pasid, ref uint pageTableId, out HwptObject? old)
    {
        using ObjectUse<KernelObject> target = _objects.Use<KernelObject>(pageTableId, out Errno error);
        if (error != Errno.Success)
        {
            return Fail(error, out old);
        }

        using (_attachLock.Acquire())
        {
            return target.Object switch
            {
                HwptObject table => AttachToTable(device, pasid, table, ref pageTableId, out old),
                IoasObject ioas => AttachToSpace(device, pasid, ioas, ref pageTableId, out old),
                _ => Fail(Errno.InvalidArgument, out old),
            };
        }
    }

    private Errno Detach(DeviceObject device, Pasid pasid)
    {
        HwptObject table;
        using (_attachLock.Acquire())
        {
            GroupBinding group = device.Group;
            if (!group.Attachments.TryGetValue(pasid, out Attachment? attachment) || !attachment.Devices.Remove(device))
            {
                return Errno.Success;
            }

            table = attachment.Table;
            if (attachment.Devices.Count == 0)
            {
                Errno error = group.Block(pasid);
                if (error != Errno.Success)
                {
                    // The IOMMU may still use the table: the device stays attached, and with it the table and its memory.
                    attachment.Devices.Add(device);
                    return error;
                }

                _ = group.Attachments.Remove(pasid);
            }

            if (!pasid.IsPresent)
            {
                Unprepare(device, table, regions: true);
            }

            table.Release();
        }

        Drop(table);
        return Errno.Success;
    }

    /// <summary>The lowest PASID that a device is attached with; none if there is none.</summary>
    public Pasid FindLowestPasid(DeviceObject device)
    {
        using (_attachLock.Acquire())
        {
            Pasid lowest = Pasid.None;
            foreach ((Pasid pasid, Attachment attachment) in device.Group.Attachments)
            {
                if (pasid.IsPresent && attachment.Devices.Contains(device) && (!lowest.IsPresent || pasid.Value < lowest.Value))
                {
                    lowest = pasid;
                }
            }

            return lowest;
        }
    }

    private void DetachEverything(DeviceObject device)
    {
        Pasid[] pasids;
        using (_attachLock.Acquire())
        {
            pasids = [.. device.Group.Attachments.Keys];
        }

        foreach (Pasid pasid in pasids)
        {
            _ = Detach(device, pasid);
        }
    }

    // An automatic table that the device can use, or a new one (Linux: auto domains).
    private Errno AttachToSpace(DeviceObject device, Pasid pasid, IoasObject ioas, ref uint id, out HwptObject? old)
    {
        if (pasid.IsPresent)
        {
            // No automatic table is made for PASIDs.
            return Fail(Errno.InvalidArgument, out old);
        }

        foreach (PageTableObject table in ioas.Tables)
        {
            if ((table.Traits & HwptTraits.Automatic) == 0)
            {
                continue;
            }

            using ObjectUse<PageTableObject> use = new(table);
            if (!use.IsPresent)
            {
                continue;
            }

            Errno error = AttachToTable(device, pasid, table, ref id, out old);
            if (error != Errno.InvalidArgument)
            {
                return error;
            }
        }

        Errno made;
        PageTableObject added;
        using (ObjectUse<PageTableObject> use = AddTable(device.Device, ioas, HwptTraits.Automatic, null, 0, [], out made))
        {
            if (made != Errno.Success)
            {
                return Fail(made, out old);
            }

            added = use.Object;
            made = AttachToTable(device, pasid, added, ref id, out old);
        }

        if (made != Errno.Success)
        {
            _objects.DestroyIfUnused(added);
        }

        return made;
    }

    private static Errno AttachToTable(DeviceObject device, Pasid pasid, HwptObject table, ref uint id, out HwptObject? old)
    {
        old = null;
        if (!device.Group.IsCompatible(table, pasid))
        {
            return Errno.InvalidArgument;
        }

        bool isAttached = device.Group.Attachments.TryGetValue(pasid, out Attachment? attachment);
        Errno error = isAttached && attachment!.Devices.Contains(device)
            ? Replace(device.Group, pasid, attachment, table, out old)
            : AttachFirst(device, pasid, attachment, table);
        if (error == Errno.Success)
        {
            id = table.Id;
        }

        return error;
    }

    private static Errno AttachFirst(DeviceObject device, Pasid pasid, Attachment? attachment, HwptObject table)
    {
        GroupBinding group = device.Group;
        if (attachment is not null && attachment.Table != table)
        {
            // The group is attached as one: its other devices decide.
            return Errno.InvalidArgument;
        }

        Errno error = pasid.IsPresent ? CanServe(device, table) : Prepare(device, table);
        if (error != Errno.Success)
        {
            return error;
        }

        if (attachment is null)
        {
            error = group.Switch(pasid, table, isFirst: true);
            if (error != Errno.Success)
            {
                if (!pasid.IsPresent)
                {
                    Unprepare(device, table, regions: true);
                }

                return error;
            }

            attachment = new(table);
            group.Attachments.Add(pasid, attachment);
        }

        attachment.Devices.Add(device);
        table.Keep();
        return Errno.Success;
    }

    private static Errno Replace(GroupBinding group, Pasid pasid, Attachment attachment, HwptObject table, out HwptObject? old)
    {
        old = null;
        HwptObject current = attachment.Table;
        if (current == table)
        {
            return Errno.Success;
        }

        // Reserved regions belong to the address space, one-to-one mappings to the table that the kernel manages.
        bool regions = !pasid.IsPresent && current.Paging.Ioas != table.Paging.Ioas;
        bool direct = !pasid.IsPresent && current.Paging != table.Paging;
        int prepared = 0;
        Errno error = Errno.Success;
        while (prepared < attachment.Devices.Count)
        {
            DeviceObject member = attachment.Devices[prepared];
            error = (regions, direct) switch
            {
                (true, _) => Prepare(member, table),
                (false, true) => PrepareDirect(member, table),
                (false, false) => CanServe(member, table),
            };
            if (error != Errno.Success)
            {
                break;
            }

            prepared++;
        }

        if (error == Errno.Success)
        {
            error = group.Switch(pasid, table, isFirst: false);
        }

        if (error != Errno.Success)
        {
            for (int i = 0; i < prepared && direct; i++)
            {
                Unprepare(attachment.Devices[i], table, regions);
            }

            return error;
        }

        foreach (DeviceObject member in attachment.Devices)
        {
            if (direct)
            {
                Unprepare(member, current, regions);
            }

            table.Keep();
            current.Release();
        }

        attachment.Table = table;
        old = current;
        return Errno.Success;
    }

    // What a table promises, a device must be able to keep.
    private static Errno CanServe(DeviceObject device, HwptObject table)
    {
        IommuDevice served = device.Device;
        if (table.Faults is not null && !(served.PageRequests && served.Iommu.Capabilities.PageRequests))
        {
            return Errno.NoDevice;
        }

        return (table.Paging.Traits & HwptTraits.DirtyTracking) != 0 && !served.Iommu.Capabilities.DirtyTracking
            ? Errno.InvalidArgument
            : Errno.Success;
    }

    private static Errno Prepare(DeviceObject device, HwptObject table)
    {
        Errno error = table.Paging.Ioas.Space.ReserveRegions(RegionsOf(device), device);
        if (error == Errno.Success)
        {
            error = PrepareDirect(device, table);
            if (error != Errno.Success)
            {
                table.Paging.Ioas.Space.ReleaseRegions(device);
            }
        }

        return error;
    }

    // The group is attached as one, so that what firmware wants to reach by another device of it counts too.
    private static List<ReservedRegion> RegionsOf(DeviceObject device)
    {
        List<ReservedRegion> regions = [.. device.Device.GetReservedRegions()];
        foreach (IommuDevice other in device.Device.Group.Devices)
        {
            if (other != device.Device)
            {
                regions.AddRange(other.GetReservedRegions().Where(static region => region.Kind == ReservedRegionKind.Direct));
            }
        }

        return regions;
    }

    private static Errno PrepareDirect(DeviceObject device, HwptObject table)
    {
        Errno error = CanServe(device, table);
        return error == Errno.Success
            ? table.Paging.Ioas.Space.MapDirect(table.Paging.InSpace, RegionsOf(device), device)
            : error;
    }

    private static void Unprepare(DeviceObject device, HwptObject table, bool regions)
    {
        table.Paging.Ioas.Space.UnmapDirect(table.Paging.InSpace, device);
        if (regions)
        {
            table.Paging.Ioas.Space.ReleaseRegions(device);
        }
    }

    private static Errno Fail(Errno error, out HwptObject? old)
    {
        old = null;
        return error;
    }

    private void Drop(HwptObject? table)
    {
        if (table is PageTableObject paging && (paging.Traits & HwptTraits.Automatic) != 0)
        {
            _objects.DestroyIfUnused(paging);
        }
    }
}
