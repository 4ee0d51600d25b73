using System.Collections.Concurrent;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>Devices that are bound, and their groups.</content>
internal sealed partial class IommufdFile
{
    // For whoever has a device and wants its number, also where no lock may be taken.
    private readonly ConcurrentDictionary<IommuDevice, uint> _deviceIds = new();

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
            added.Keep();
            error = _objects.Add(added);
            if (error != Errno.Success)
            {
                ReleaseGroupLocked(group);
                return error;
            }

            _deviceIds[device] = added.Id;
            bound = added;
            return Errno.Success;
        }
    }

    /// <summary>Undoes <see cref="Bind"/>, and before it every attach.</summary>
    public void Unbind(DeviceObject device)
    {
        VirtualDeviceObject? known;
        using (_attachLock.Acquire())
        {
            device.IsGoing = true;
            known = device.Virtual;
        }

        DetachEverything(device);
        if (known is not null)
        {
            // The guest's name for the device leads nowhere from now on, and its number stays taken: so Linux.
            _objects.Bury(known);
        }

        // Somebody else may be in the middle of destroying it.
        while (Volatile.Read(ref device.Virtual) is not null)
        {
            _ = Injection.Hit(InjectionKind.Wait);
            _ = Thread.Yield();
        }

        _ = _deviceIds.TryRemove(device.Device, out _);
        device.Release();
        _objects.DestroyAndWait(device);
    }

    /// <summary>The object number of a bound device, 0 if it is not bound (any more). Takes no lock.</summary>
    internal uint FindDeviceId(IommuDevice device) => _deviceIds.GetValueOrDefault(device);

    /// <summary>A device object is gone: gives back its share of the group.</summary>
    internal void ReleaseGroup(GroupBinding group)
    {
        using (_attachLock.Acquire())
        {
            ReleaseGroupLocked(group);
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
