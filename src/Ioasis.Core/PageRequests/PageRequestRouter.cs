using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The page requests of one IOMMU: collects groups until their last request, hands them to the handler of the domain that the
/// PASID is attached to, and answers what nobody handles. What it keeps is bounded (<see cref="PageRequestOptions"/>).
/// </summary>
/// <remarks>
/// A driver calls <see cref="Add"/>, <see cref="StopMarker"/> and <see cref="RecordsLost"/> in the order of the hardware's
/// queue, then <see cref="Dispatch"/> without a lock held. No lock of the router is held while a handler runs or an answer
/// is sent.
/// </remarks>
internal sealed partial class PageRequestRouter
{
    private readonly IommuInstance _iommu;
    private readonly IoLock _lock = new();
    private readonly Dictionary<(ulong Device, uint Pasid), PageRequestAttachment> _attachments = [];
    private readonly Dictionary<(ulong Device, uint Pasid, int Index), List<PageRequest>> _partials = [];
    private readonly Dictionary<ulong, int> _pagesOfDevice = [];
    private readonly Queue<PageRequestGroup> _queue = new();
    private PageRequestOptions _options = new();
    private PageRequestStatistics _statistics;
    private int _pages;

    internal PageRequestRouter(IommuInstance iommu) => _iommu = iommu;

    /// <summary>Limits, and where handlers run. To be set before there are requests.</summary>
    public PageRequestOptions Options
    {
        get => _options;
        set => _options = value ?? throw new ArgumentNullException(nameof(value));
    }

    /// <summary>What it did so far.</summary>
    public PageRequestStatistics Statistics
    {
        get
        {
            using (_lock.Acquire())
            {
                return _statistics with { Waiting = _pages };
            }
        }
    }

    /// <summary>Takes one record of the hardware's queue.</summary>
    /// <param name="device">Who asks.</param>
    /// <param name="pasid">The PASID; <see cref="Pasid.None"/> without one.</param>
    /// <param name="hasPasid">Whether the request carried a PASID.</param>
    /// <param name="index">Page request group index.</param>
    /// <param name="request">The page.</param>
    /// <param name="isLast">Whether the group is complete with it.</param>
    public void Add(IommuDevice device, Pasid pasid, bool hasPasid, int index, in PageRequest request, bool isLast)
    {
        ArgumentNullException.ThrowIfNull(device);
        PageRequestGroup? refused = null;
        PageResponseCode answer = PageResponseCode.Success;
        using (_lock.Acquire())
        {
            _statistics = _statistics with { Requests = _statistics.Requests + 1 };
            (ulong, uint, int) key = (device.Id.Value, pasid.Value, index);
            bool isPartial = _partials.TryGetValue(key, out List<PageRequest>? before);
            int held = _pagesOfDevice.GetValueOrDefault(device.Id.Value);
            bool overDevice = held >= _options.MaxPagesPerDevice;
            bool isOver = overDevice || _pages >= _options.MaxPages || Injection.Hit(InjectionKind.Allocate) != Errno.Success;
            if (!isLast)
            {
                // One more page than the limit is not kept: the last request of the group still gets its answer.
                if (!isOver)
                {
                    if (!isPartial)
                    {
                        _partials.Add(key, before = []);
                    }

                    before!.Add(request);
                    Charge(device, 1);
                }

                return;
            }

            PageRequest[] requests = isPartial ? [.. before!, request] : [request];
            if (isPartial)
            {
                _ = _partials.Remove(key);
                Charge(device, -before!.Count);
            }

            _statistics = _statistics with { Groups = _statistics.Groups + 1 };
            PageRequestAttachment? attachment = _attachments.GetValueOrDefault((device.Id.Value, pasid.Value));
            PageRequestGroup group = new(
                this, attachment ?? new(device, pasid, BlockedDomain.Instance), pasid, hasPasid, index, requests);
            if (attachment?.Domain.PageRequestHandler is null)
            {
                _statistics = _statistics with { Unhandled = _statistics.Unhandled + 1 };
                (refused, answer) = (group, PageResponseCode.InvalidRequest);
            }
            else if (isOver)
            {
                _statistics = _statistics with { Refused = _statistics.Refused + 1 };
                (refused, answer) = (group, overDevice ? PageResponseCode.Failure : PageResponseCode.InvalidRequest);
            }
            else
            {
                Charge(device, requests.Length);
                attachment.Outstanding.Add(group);
                _queue.Enqueue(group);
                Volatile.Write(ref _backlog, _queue.Count);
            }
        }

        if (refused is not null)
        {
            refused.State = PageRequestGroup.Progress.Answered;
            _ = Send(refused, answer);
        }
    }

    /// <summary>
    /// A stop marker: the device has ended its use of a PASID, and all its requests for it came before. What is incomplete
    /// never becomes complete.
    /// </summary>
    public void StopMarker(IommuDevice device, Pasid pasid)
    {
        ArgumentNullException.ThrowIfNull(device);
        using (_lock.Acquire())
        {
            _statistics = _statistics with { StopMarkers = _statistics.StopMarkers + 1 };
            DropPartials(key => key.Device == device.Id.Value && key.Pasid == pasid.Value);
        }
    }

    /// <summary>
    /// The hardware lost records (overflow, memory fault) and answered the last requests among them itself. Groups that are
    /// incomplete now may have lost their last request: they go. Should it come after all, its page is a group of its own.
    /// </summary>
    public void RecordsLost()
    {
        using (_lock.Acquire())
        {
            DropPartials(static _ => true);
        }
    }

    /// <summary>Has the handlers run for the groups that are complete.</summary>
    public void Dispatch()
    {
        switch (_options.Dispatch)
        {
            case PageRequestDispatch.Worker when Injection.Current is null:
                WakeWorker();
                break;
            case PageRequestDispatch.Manual:
                break;
            default:
                while (TryRun())
                {
                }

                break;
        }
    }

    /// <summary>Runs the handler of the oldest complete group, on the calling thread.</summary>
    /// <returns>Whether there was one.</returns>
    public bool TryRun()
    {
        PageRequestGroup? group;
        PageRequestAttachment attachment;
        using (_lock.Acquire())
        {
            do
            {
                if (!_queue.TryDequeue(out group))
                {
                    Volatile.Write(ref _backlog, 0);
                    return false;
                }
            }
            while (group.State != PageRequestGroup.Progress.Queued);

            Volatile.Write(ref _backlog, _queue.Count);
            attachment = group.Attachment;
            group.State = PageRequestGroup.Progress.Delivered;
            attachment.Running++;
        }

        PageRequestAttachment? outer = t_running;
        t_running = attachment;
        try
        {
            attachment.Domain.PageRequestHandler!.OnPageRequests(group);
        }
        finally
        {
            t_running = outer;
            using (_lock.Acquire())
            {
                attachment.Running--;
            }
        }

        return true;
    }

    /// <summary>Answers a group, once.</summary>
    internal Errno Respond(PageRequestGroup group, PageResponseCode code)
    {
        using (_lock.Acquire())
        {
            if (group.State >= PageRequestGroup.Progress.Answering)
            {
                return Errno.NoEntry;
            }

            group.State = PageRequestGroup.Progress.Answering;
            _statistics = _statistics with { Answered = _statistics.Answered + 1 };
        }

        return Finish(group, code);
    }

    // The group counts as outstanding until its answer is with the hardware: a detach waits for that.
    private Errno Finish(PageRequestGroup group, PageResponseCode code)
    {
        Errno error = Send(group, code);
        using (_lock.Acquire())
        {
            group.State = PageRequestGroup.Progress.Answered;
            _ = group.Attachment.Outstanding.Remove(group);
            Charge(group.Device, -group.Requests.Length);
        }

        return error;
    }

    private Errno Send(PageRequestGroup group, PageResponseCode code)
    {
        Errno error = _iommu.SendPageResponse(group, code);
        if (code != PageResponseCode.Success)
        {
            _iommu.ReportPageRequest(group, code);
        }

        return error;
    }

    private void Charge(IommuDevice device, int pages)
    {
        _pages += pages;
        int held = _pagesOfDevice.GetValueOrDefault(device.Id.Value) + pages;
        if (held == 0)
        {
            _ = _pagesOfDevice.Remove(device.Id.Value);
        }
        else
        {
            _pagesOfDevice[device.Id.Value] = held;
        }
    }

    private void DropPartials(Func<(ulong Device, uint Pasid, int Index), bool> which)
    {
        foreach (((ulong Device, uint Pasid, int Index) key, List<PageRequest> requests) in _partials)
        {
            if (which(key) && _partials.Remove(key))
            {
                _pages -= requests.Count;
                int held = _pagesOfDevice[key.Device] - requests.Count;
                if (held == 0)
                {
                    _ = _pagesOfDevice.Remove(key.Device);
                }
                else
                {
                    _pagesOfDevice[key.Device] = held;
                }

                _statistics = _statistics with { DroppedPartials = _statistics.DroppedPartials + 1 };
            }
        }
    }
}
