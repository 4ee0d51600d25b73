using Ioasis.Primitives;

namespace Ioasis.Core;

// This folder takes page requests (PCIe PRI) from a driver to whoever can make the pages available, and one answer for each
// group back. It knows neither queues of hardware nor page tables, and it never maps anything itself.

/// <summary>One page that a device asks for (PCIe Base Specification, "Page Request Message").</summary>
/// <param name="Address">The page, aligned to 4 KiB.</param>
/// <param name="Access">What the device wants to do there.</param>
/// <param name="IsPrivileged">The request is made in privileged mode.</param>
internal readonly record struct PageRequest(Iova Address, Access Access, bool IsPrivileged = false);

/// <summary>How a group of page requests is answered (PCIe Base Specification, "Page Request Group Response").</summary>
internal enum PageResponseCode
{
    /// <summary>The pages are there, or it is worth asking again: the device retries the translation.</summary>
    Success = 0,

    /// <summary>A page does not exist or may not be accessed so: the access fails.</summary>
    InvalidRequest = 1,

    /// <summary>Catastrophic: the device stops making page requests until it is enabled again.</summary>
    Failure = 15,
}

/// <summary>
/// Who makes pages available for a domain: the process whose address space it is, or a program that reads a queue of faults.
/// </summary>
internal interface IPageRequestHandler
{
    /// <summary>
    /// A device asks for pages. The handler answers with <see cref="PageRequestGroup.Respond"/>, at once or later, from any
    /// thread and in any order. It is called without a lock held, off the thread that reads the hardware's queue, and must
    /// return in bounded time, without an exception. A detach waits until it has returned: it must not attach or detach what
    /// the group came from, nor wait for a lock that whoever does that holds.
    /// </summary>
    void OnPageRequests(PageRequestGroup group);

    /// <summary>
    /// The core has answered a group itself, because its device or PASID was detached before the handler answered. Called
    /// when <see cref="OnPageRequests"/> has returned for the group, under the same rules.
    /// </summary>
    void OnCanceled(PageRequestGroup group)
    {
    }
}

/// <summary>
/// The pages of one page request group, complete: the last request was there. It is answered exactly once, by
/// <see cref="Respond"/> or, when its PASID is detached, by the core.
/// </summary>
internal sealed class PageRequestGroup
{
    private readonly PageRequestRouter _router;
    private readonly PageRequest[] _requests;

    internal PageRequestGroup(
        PageRequestRouter router, PageRequestAttachment attachment, Pasid pasid, bool hasPasid, int index, PageRequest[] requests)
    {
        _router = router;
        _requests = requests;
        Attachment = attachment;
        Pasid = pasid;
        HasPasid = hasPasid;
        Index = index;
    }

    internal enum Progress
    {
        Queued,
        Delivered,
        Answering,
        Answered,
    }

    /// <summary>Who asks.</summary>
    public IommuDevice Device => Attachment.Device;

    /// <summary>The PASID; <see cref="Pasid.None"/> for requests without one.</summary>
    public Pasid Pasid { get; }

    /// <summary>Whether the requests carried a PASID.</summary>
    public bool HasPasid { get; }

    /// <summary>The page request group index, 0 to 511, by which the device knows the group.</summary>
    public int Index { get; }

    /// <summary>What the device, or this PASID of it, was attached to when it asked.</summary>
    public Domain Domain => Attachment.Domain;

    /// <summary>The pages, in the order in which they were asked for; at least one.</summary>
    public ReadOnlySpan<PageRequest> Requests => _requests;

    /// <summary>Whether it was answered, by whomever.</summary>
    public bool IsAnswered => Volatile.Read(ref _state) >= (int)Progress.Answering;

    internal PageRequestAttachment Attachment { get; }

    private int _state;

    /// <summary>Guarded by the router's lock.</summary>
    internal Progress State
    {
        get => (Progress)_state;
        set => Volatile.Write(ref _state, (int)value);
    }

    /// <summary>Answers the group.</summary>
    /// <param name="code">How. Other than success, it is reported as a fault of the device (S2.11).</param>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> if it was answered before, by the handler or because of a detach; otherwise the
    /// driver's error: then the device will not get the answer, because its IOMMU is out of order.
    /// </returns>
    public Errno Respond(PageResponseCode code) => _router.Respond(this, code);
}

/// <summary>A device, or one PASID of it, that may ask for pages of a domain. Guarded by the router's lock.</summary>
internal sealed class PageRequestAttachment(IommuDevice device, Pasid pasid, Domain domain)
{
    public IommuDevice Device { get; } = device;

    public Pasid Pasid { get; } = pasid;

    public Domain Domain { get; } = domain;

    /// <summary>Groups that are complete and whose answer is not on its way yet.</summary>
    public List<PageRequestGroup> Outstanding { get; } = [];

    /// <summary>Handlers that are running now.</summary>
    public int Running { get; set; }

    /// <summary>It was detached: nothing is delivered any more.</summary>
    public bool IsClosed { get; set; }
}
