using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A queue of the hardware on a guest's memory as an object (Linux: <c>iommufd_hw_queue</c>). It keeps its memory from being unmapped, the
/// virtual IOMMU, and the queue that it builds on.
/// </summary>
internal sealed class HardwareQueueObject : KernelObject, IAddressSpaceUser
{
    private const ulong LargestQueue = 1ul << 30;

    private readonly VirtualIommuObject _virtualIommu;
    private readonly AddressSpace _space;
    private readonly AddressRange _pages;
    private VirtualIommuQueue? _queue;
    private HardwareQueueObject? _needs;

    private HardwareQueueObject(VirtualIommuObject virtualIommu, AddressRange pages)
    {
        _virtualIommu = virtualIommu;
        _space = virtualIommu.Parent.Ioas.Space;
        _pages = pages;
    }

    /// <inheritdoc/>
    public ulong Alignment => AddressSpace.PageSize;

    /// <inheritdoc/>
    public bool Holds => true;

    /// <summary>Makes one; the virtual IOMMU is used from now on.</summary>
    /// <param name="virtualIommu">A part that has queues of the kind.</param>
    /// <param name="type">The kind.</param>
    /// <param name="index">Which one.</param>
    /// <param name="range">Where the guest has it.</param>
    /// <param name="made">The queue, without a number.</param>
    public static Errno TryMake(
        VirtualIommuObject virtualIommu, uint type, uint index, AddressRange range, out HardwareQueueObject? made)
    {
        const ulong InPage = AddressSpace.PageSize - 1;
        made = null;

        // The list of its pages is made before they are looked for.
        if (range.Last - range.Start >= LargestQueue)
        {
            return Errno.OutOfMemory;
        }

        HardwareQueueObject candidate = new(virtualIommu, new(range.Start & ~InPage, range.Last | InPage));
        Errno error = candidate._space.AddUser(candidate);
        if (error != Errno.Success)
        {
            return error;
        }

        error = candidate.Pin(out PhysicalAddress memory);
        if (error != Errno.Success)
        {
            candidate._space.RemoveUser(candidate);
            return error;
        }

        virtualIommu.Keep();
        error = virtualIommu.AddQueue(
            candidate, type, index, range, memory + (range.Start & InPage), out candidate._queue, out candidate._needs);
        if (error != Errno.Success)
        {
            candidate.Destroy();
            return error;
        }

        made = candidate;
        return Errno.Success;
    }

    /// <summary>The hardware's queue.</summary>
    public VirtualIommuQueue? Queue => _queue;

    /// <inheritdoc/>
    public void OnUnmap(AddressRange range)
    {
        // It holds what it has pinned.
    }

    /// <inheritdoc/>
    public override void Destroy()
    {
        _virtualIommu.RemoveQueue(this);
        _queue?.Dispose();
        _needs?.Release();
        _space.UnpinPages(this, _pages);
        _space.RemoveUser(this);
        _virtualIommu.Release();
    }

    // Contiguous memory or EFAULT.
    private Errno Pin(out PhysicalAddress memory)
    {
        PhysicalAddress[] pages = new PhysicalAddress[((_pages.Last - _pages.Start) / AddressSpace.PageSize) + 1];
        memory = default;
        Errno error = _space.PinPages(this, _pages, writes: false, pages);
        if (error != Errno.Success)
        {
            return error;
        }

        memory = pages[0];
        for (int i = 1; i < pages.Length; i++)
        {
            if (pages[i] != pages[i - 1] + AddressSpace.PageSize)
            {
                _space.UnpinPages(this, _pages);
                return Errno.BadAddress;
            }
        }

        return Errno.Success;
    }
}
