using System.Collections.Concurrent;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The I/O address space subsystem: which devices there are, in which groups, behind which IOMMUs. It is the root of the
/// core; it knows no concrete driver, no bus and no descriptor.
/// </summary>
internal sealed class IommuSubsystem
{
    private readonly IoLock _lock = new();
    private readonly ConcurrentDictionary<string, IommuDevice> _devices = new(StringComparer.Ordinal);
    private readonly Dictionary<int, IommuGroup> _groups = [];
    private int _nextGroup;

    /// <summary>Every device.</summary>
    public IEnumerable<IommuDevice> Devices => _devices.Values;

    /// <summary>Finds a device by name.</summary>
    public bool TryGetDevice(string name, out IommuDevice? device) => _devices.TryGetValue(name, out device);

    /// <summary>
    /// Adds a device behind <paramref name="iommu"/>. Its DMA faults until its group is attached to a domain.
    /// </summary>
    /// <param name="iommu">The IOMMU.</param>
    /// <param name="id">The requester ID there.</param>
    /// <param name="name">Unique name.</param>
    /// <param name="groupId">The group that it shares, or null for one of its own.</param>
    /// <param name="options">Properties.</param>
    /// <param name="device">The device.</param>
    /// <returns>Success, <see cref="Errno.Exists"/> for a name that is taken, or the driver's error.</returns>
    public Errno TryAddDevice(
        IommuInstance iommu, DeviceId id, string name, int? groupId, in IommuDeviceOptions options, out IommuDevice? device)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        ArgumentNullException.ThrowIfNull(name);
        device = null;
        using (_lock.Acquire())
        {
            if (_devices.ContainsKey(name))
            {
                return Errno.Exists;
            }

            IommuGroup? group = null;
            bool fresh = groupId is not { } wanted || !_groups.TryGetValue(wanted, out group);
            if (fresh)
            {
                int number = groupId ?? _nextGroup;
                while (groupId is null && _groups.ContainsKey(number))
                {
                    number++;
                }

                group = new(number);
            }

            IommuDevice added = new(id, name, iommu, group!, options);
            Errno error = group!.Add(added);
            if (error != Errno.Success)
            {
                return error;
            }

            if (fresh)
            {
                _groups.Add(group.Id, group);
                _nextGroup = Math.Max(_nextGroup, group.Id + 1);
            }

            _devices[name] = added;
            device = added;
            return Errno.Success;
        }
    }

    /// <summary>Removes a device: its DMA is blocked and drained first. Removing twice is harmless.</summary>
    public void RemoveDevice(IommuDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        using (_lock.Acquire())
        {
            if (device.Group.Remove(device))
            {
                _ = _devices.TryRemove(device.Name, out _);
                if (device.Group.Devices.Count == 0)
                {
                    _ = _groups.Remove(device.Group.Id);
                }
            }
        }
    }

    /// <summary>
    /// Removes every device behind an IOMMU, so that its driver can be disposed of (S4.3). Nobody may add devices behind it
    /// any more.
    /// </summary>
    public void RemoveIommu(IommuInstance iommu)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        foreach (IommuDevice device in _devices.Values)
        {
            if (ReferenceEquals(device.Iommu, iommu))
            {
                RemoveDevice(device);
            }
        }
    }
}
