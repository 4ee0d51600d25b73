using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A guest's part of an IOMMU as an object (Linux: <c>iommufd_viommu</c>). It keeps the second stage that it is made on, and
/// is kept by the guest's tables, devices and event queues.
/// </summary>
internal sealed class VirtualIommuObject : KernelObject, IVirtualEventSink
{
    private readonly IoLock _lock = new();
    private readonly HashSet<ulong> _names = [];
    private readonly List<HardwareQueueObject> _hardwareQueues = [];
    private VirtualEventQueueObject[] _queues = [];

    /// <summary>Makes the object; the parent is used from now on.</summary>
    public VirtualIommuObject(IommuInstance iommu, PageTableObject parent, VirtualIommu made)
    {
        parent.Keep();
        Iommu = iommu;
        Parent = parent;
        Virtual = made;
        made.Events = this;
    }

    /// <summary>The IOMMU that it is a part of.</summary>
    public IommuInstance Iommu { get; }

    /// <summary>The second stage.</summary>
    public PageTableObject Parent { get; }

    /// <summary>The part.</summary>
    public VirtualIommu Virtual { get; }

    /// <summary>Takes a name for a device.</summary>
    /// <returns>Whether nobody had it.</returns>
    public bool TryTakeName(ulong name)
    {
        using (_lock.Acquire())
        {
            return _names.Add(name);
        }
    }

    /// <summary>Gives a name back.</summary>
    public void ReleaseName(ulong name)
    {
        using (_lock.Acquire())
        {
            _ = _names.Remove(name);
        }
    }

    /// <summary>Adds a queue, if there is none of its kind.</summary>
    public bool TryAdd(VirtualEventQueueObject queue)
    {
        using (_lock.Acquire())
        {
            if (Array.Exists(_queues, other => other.Type == queue.Type))
            {
                return false;
            }

            Volatile.Write(ref _queues, [.. _queues, queue]);
            return true;
        }
    }

    /// <summary>Makes a queue of the hardware's, and uses the one that it needs.</summary>
    public Errno AddQueue(
        HardwareQueueObject owner,
        uint type,
        uint index,
        AddressRange range,
        PhysicalAddress memory,
        out VirtualIommuQueue? queue,
        out HardwareQueueObject? needs)
    {
        needs = null;
        using (_lock.Acquire())
        {
            Errno error = Virtual.TryAllocateQueue(type, index, new(range.Start), range.Last - range.Start + 1, memory, out queue);
            if (error != Errno.Success)
            {
                return error;
            }

            if (queue!.Needs is { } needed)
            {
                needs = _hardwareQueues.Find(other => other.Queue == needed);
                if (needs is null || !needs.TryKeep())
                {
                    needs = null;
                    queue.Dispose();
                    queue = null;
                    return Errno.IoError;
                }
            }

            _hardwareQueues.Add(owner);
            return Errno.Success;
        }
    }

    /// <summary>Forgets a queue of the hardware's.</summary>
    public void RemoveQueue(HardwareQueueObject queue)
    {
        using (_lock.Acquire())
        {
            _ = _hardwareQueues.Remove(queue);
        }
    }

    /// <summary>Forgets a queue.</summary>
    public void Remove(VirtualEventQueueObject queue)
    {
        using (_lock.Acquire())
        {
            Volatile.Write(ref _queues, [.. _queues.Where(other => other != queue)]);
        }
    }

    /// <inheritdoc/>
    public void OnEvent(uint type, ReadOnlySpan<byte> data)
    {
        foreach (VirtualEventQueueObject queue in Volatile.Read(ref _queues))
        {
            if (queue.Type == type)
            {
                queue.Add(data);
            }
        }
    }

    /// <inheritdoc/>
    public override void Destroy()
    {
        Virtual.Events = null;
        Virtual.Dispose();
        Parent.Release();
    }
}
