using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>A part of the kernel that reads and writes what an address space maps, without DMA.</summary>
internal interface IAddressSpaceUser
{
    /// <summary>What areas must be multiples of while it is there: 1, or a page if it pins.</summary>
    ulong Alignment { get; }

    /// <summary>Whether what it has pinned cannot be unmapped (EBUSY); otherwise it is told, and unpins.</summary>
    bool Holds { get; }

    /// <summary>A range is about to be unmapped: what is pinned in it is unpinned when this returns. Called without a lock.</summary>
    void OnUnmap(AddressRange range);
}

/// <content>Users that are not devices: they pin pages of areas, or copy (Linux: <c>iommufd_access</c>).</content>
internal sealed partial class AddressSpace
{
    // How often users are told before an unmap gives up: who does not unpin is at fault.
    private const int UnmapAttempts = 100;

    private readonly List<IAddressSpaceUser> _users = [];
    private int _pinnedByUsers;

    /// <summary>Adds a user.</summary>
    /// <returns>Success; <see cref="Errno.AddressInUse"/> if an area is not aligned as it must be for the user.</returns>
    public Errno AddUser(IAddressSpaceUser user)
    {
        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        using (_lock.Acquire())
        {
            ulong alignment = ComputeAlignment(_largePages, user.Alignment);
            if (!AreAligned(alignment))
            {
                return Errno.AddressInUse;
            }

            _alignment = alignment;
            _users.Add(user);
            return Errno.Success;
        }
    }

    /// <summary>Undoes <see cref="AddUser"/>. The user has nothing pinned any more.</summary>
    public void RemoveUser(IAddressSpaceUser user)
    {
        using (_lock.Acquire())
        {
            _ = _users.Remove(user);
            _alignment = ComputeAlignment(_largePages, 1);
        }
    }

    /// <summary>Pins the pages of a range for a user, whole pages that stay until <see cref="UnpinPages"/>. All or nothing.</summary>
    /// <param name="user">The user.</param>
    /// <param name="range">Mapped without a hole; its first byte is the first of a page of memory, and so is the first of every area in it but the last.</param>
    /// <param name="writes">Whether the user writes.</param>
    /// <param name="pages">Gets the address of each page; as many as the range begins.</param>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> for a hole; <see cref="Errno.NotPermitted"/> against the mapping's access;
    /// <see cref="Errno.InvalidArgument"/> for alignment, memory of a device, and what is being unmapped;
    /// <see cref="Errno.BadAddress"/>; <see cref="Errno.OutOfMemory"/> over the limit.
    /// </returns>
    public Errno PinPages(IAddressSpaceUser user, AddressRange range, bool writes, Span<PhysicalAddress> pages)
    {
        using (_lock.Acquire())
        {
            ulong cursor = range.Start;
            Errno error;
            while ((error = FindForUser(cursor, writes, out Area? area)) == Errno.Success)
            {
                ulong last = Math.Min(area!.Last, range.Last);
                ulong offset = area.Offset + (cursor - area.Start);
                bool isAligned = ((area.Memory!.UserAddress + offset) & (PageSize - 1)) == 0
                    && (last == range.Last || ((area.Memory.UserAddress + offset + (last - cursor) + 1) & (PageSize - 1)) == 0);
                error = isAligned ? area.Memory.Pin() : Errno.InvalidArgument;
                if (error != Errno.Success)
                {
                    break;
                }

                area.UserPins++;
                area.Holders += user.Holds ? 1 : 0;
                _pinnedByUsers++;
                for (ulong done = 0; done <= last - cursor; done += PageSize)
                {
                    _ = area.Memory.Locate(offset + done, 1, out pages[0]);
                    pages = pages[1..];
                }

                if (last == range.Last)
                {
                    return Errno.Success;
                }

                cursor = last + 1;
            }

            if (cursor > range.Start)
            {
                UnpinAreas(user, new(range.Start, cursor - 1));
            }

            return error;
        }
    }

    /// <summary>Undoes <see cref="PinPages"/> of the same range.</summary>
    public void UnpinPages(IAddressSpaceUser user, AddressRange range)
    {
        using (_lock.Acquire())
        {
            UnpinAreas(user, range);
        }
    }

    /// <summary>Copies from the memory under a range, or to it.</summary>
    /// <param name="iova">First IOVA.</param>
    /// <param name="writes">Whether to write.</param>
    /// <param name="data">Where to, or what.</param>
    /// <returns>As <see cref="PinPages"/>, without alignment. What was copied before an error stays.</returns>
    public Errno CopyBytes(ulong iova, bool writes, Span<byte> data)
    {
        using (_lock.Acquire())
        {
            ulong cursor = iova;
            while (true)
            {
                Errno error = FindForUser(cursor, writes, out Area? area);
                if (error != Errno.Success)
                {
                    return error;
                }

                int bytes = (int)Math.Min(area!.Last - cursor, (ulong)data.Length - 1) + 1;
                error = area.Memory!.Copy(area.Offset + (cursor - area.Start), writes, data[..bytes]);
                data = data[bytes..];
                if (error != Errno.Success || data.IsEmpty)
                {
                    return error;
                }

                cursor += (ulong)bytes;
            }
        }
    }

    private Errno FindForUser(ulong iova, bool writes, out Area? area)
    {
        area = FindLive(iova);
        return area is null ? Errno.NoEntry
            : area.IsGoing ? Errno.InvalidArgument
            : (area.Access & (writes ? Access.Write : Access.Read)) == 0 ? Errno.NotPermitted
            : area.Memory!.Device is not null ? Errno.InvalidArgument
            : Errno.Success;
    }

    private void UnpinAreas(IAddressSpaceUser user, AddressRange range)
    {
        foreach (Area area in FindOverlapping(range))
        {
            area.UserPins--;
            area.Holders -= user.Holds ? 1 : 0;
            _pinnedByUsers--;
            area.Memory!.Unpin();
        }
    }

    // Live areas that overlap a range, in order.
    private List<Area> FindOverlapping(AddressRange range)
    {
        List<Area> areas = FindLiveAreas(range);
        if (FindLive(range.Start) is { } first && first.Start < range.Start)
        {
            areas.Insert(0, first);
        }

        return areas;
    }

    // Whether an unmap of a range may go on: Success; TryAgain if users have to be told of an area first (TellUsers); Busy if one holds an area;
    // Deadlock if they were told too often.
    private Errno CheckUsers(AddressRange range, int attempt, out AddressRange pinned)
    {
        pinned = default;
        if (_pinnedByUsers == 0)
        {
            return Errno.Success;
        }

        foreach (Area area in FindLiveAreas(range))
        {
            if (area.Last > range.Last)
            {
                break;
            }

            if (area.UserPins > 0)
            {
                pinned = area.Range;
                area.IsGoing = area.Holders == 0;
                return area.Holders > 0 ? Errno.Busy : attempt == UnmapAttempts ? Errno.Deadlock : Errno.TryAgain;
            }
        }

        return Errno.Success;
    }

    // Not under the lock: users unpin.
    private void TellUsers(AddressRange range)
    {
        IAddressSpaceUser[] users;
        using (_lock.Acquire())
        {
            users = [.. _users];
        }

        foreach (IAddressSpaceUser user in users)
        {
            if (!user.Holds)
            {
                user.OnUnmap(range);
            }
        }
    }
}
