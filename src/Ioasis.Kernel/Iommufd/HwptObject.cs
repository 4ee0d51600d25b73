using Ioasis.Core;

namespace Ioasis.Kernel;

/// <summary>What a device can be attached to (Linux: <c>iommufd_hw_pagetable</c>): a domain under an object number.</summary>
internal abstract class HwptObject : KernelObject
{
    /// <summary>The domain.</summary>
    public abstract Domain Domain { get; }

    /// <summary>The table that the kernel manages: this one, or the second stage under it.</summary>
    public abstract PageTableObject Paging { get; }

    /// <summary>Whether it may be attached to PASIDs, and to a device of which PASIDs are attached.</summary>
    public abstract bool AllowsPasids { get; }

    /// <summary>Who gets the page requests of its devices.</summary>
    public FaultQueueObject? Faults { get; private set; }

    /// <summary>Gives page requests to a queue, which lives as long as the table. Before anything is attached.</summary>
    public void SetFaults(FaultQueueObject queue)
    {
        queue.Keep();
        Faults = queue;
        Domain.PageRequestHandler = queue;
    }

    /// <summary>Lets go of the queue.</summary>
    protected void ReleaseFaults() => Faults?.Release();
}
