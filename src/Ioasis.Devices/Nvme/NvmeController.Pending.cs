using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices.Nvme;

/// <content>
/// DMA, and what waits: a command whose page was missing and was asked for (PCIe PRI), or which is held back on request. When the
/// pages are there it begins anew. A reset forgets it. Everything is under the lock, but for the answers.
/// </content>
public sealed partial class NvmeController
{
    private const ulong DmaPage = 4096;
    private const int PagesAtATime = 32;

    // Pages may go again before they are used; whoever supplies them must not keep the controller busy for ever.
    private const int AttemptLimit = 4096;

    private readonly List<PendingCommand> _pending = [];
    private readonly List<PendingFetch> _pendingFetches = [];
    private readonly List<(ulong Address, Access Access)> _missing = [];
    private ITimer? _delayTimer;
    private bool _pasidStopped;

    /// <summary>Commands that were fetched and have not ended, requests for events apart.</summary>
    public int Pending
    {
        get
        {
            using (_lock.Acquire())
            {
                return _pending.Count;
            }
        }
    }

    /// <inheritdoc/>
    bool INvmeBus.Read(ulong address, Span<byte> destination)
    {
        if (_isGone || Volatile.Read(ref _pasidStopped))
        {
            return false;
        }

        if (!_options.Ats || Connection?.Ats is not { } ats)
        {
            return ReadMemory(new(address), destination, _pasid) == DmaStatus.Success;
        }

        AtsStatus status = AtsStatus.Error;
        int done = 0;
        status = IsBusMaster ? ats.Read(_pasid, address, destination, out done) : status;
        return EndAccess(status, address + (ulong)done, destination.Length - done, Access.Read);
    }

    /// <inheritdoc/>
    bool INvmeBus.Write(ulong address, ReadOnlySpan<byte> source)
    {
        if (_isGone || Volatile.Read(ref _pasidStopped))
        {
            return false;
        }

        if (!_options.Ats || Connection?.Ats is not { } ats)
        {
            return WriteMemory(new(address), source, _pasid) == DmaStatus.Success;
        }

        AtsStatus status = AtsStatus.Error;
        int done = 0;
        status = IsBusMaster ? ats.Write(_pasid, address, source, out done) : status;
        return EndAccess(status, address + (ulong)done, source.Length - done, Access.Write);
    }

    private bool EndAccess(AtsStatus status, ulong address, int left, Access access)
    {
        if (status == AtsStatus.PageMissing && _options.PageRequests)
        {
            // What follows is wanted too, and will hardly be there.
            ulong end = address + (ulong)left;
            for (ulong page = address & ~(DmaPage - 1); page < end && _missing.Count < PagesAtATime; page += DmaPage)
            {
                _missing.Add((page, access));
            }
        }

        return status == AtsStatus.Success;
    }

    // Asks for the pages that the last access lacked. Returns false if that leads nowhere.
    private bool WaitForPages(SubmissionQueue queue, PendingCommand? command)
    {
        PendingFetch? fetch = null;
        if (command is null)
        {
            if (++queue.Attempts > AttemptLimit)
            {
                return false;
            }

            fetch = new(queue, null);
        }
        else if (++command.Attempts > AttemptLimit)
        {
            return false;
        }

        if (!TryAsk(out PageTicket?[] tickets))
        {
            return false;
        }

        if (command is not null)
        {
            command.Tickets = tickets;
            _pending.Add(command);
        }
        else
        {
            fetch!.Tickets = tickets;
            _pendingFetches.Add(fetch);
        }

        return true;
    }

    private bool WaitForPages(CompletionQueue queue)
    {
        if (++queue.Attempts > AttemptLimit || !TryAsk(out PageTicket?[] tickets))
        {
            return false;
        }

        queue.IsBlocked = true;
        _pendingFetches.Add(new(null, queue) { Tickets = tickets });
        return true;
    }

    // A page for which no room is left among the requests is asked for when another was answered.
    private bool TryAsk(out PageTicket?[] tickets)
    {
        tickets = [];
        if (_missing.Count == 0 || Connection?.Ats is not { } ats)
        {
            return false;
        }

        (ulong Address, Access Access)[] pages = [.. _missing];
        tickets = new PageTicket?[pages.Length];
        for (int i = 0; i < pages.Length; i++)
        {
            Errno error = ats.RequestPage(_pasid, pages[i].Address, pages[i].Access, out tickets[i], OnPageAnswered);
            if (error is not (Errno.Success or Errno.Busy))
            {
                return i > 0 && tickets[0] is not null;
            }
        }

        return true;
    }

    // May come in any thread, and while the request is still being made.
    private void OnPageAnswered(PageTicket ticket)
    {
        Post(LookAtPending, 0);
        RunPosted();
    }

    // Under the lock. What has its answers goes on.
    private void ResumePending()
    {
        // What follows has a method of its own: it makes objects, from its first line on.
        if (_mayResume)
        {
            _mayResume = false;
            ResumeAnswered(Now());
        }
    }

    private void ResumeAnswered(long now)
    {
        for (int i = 0; i < _pendingFetches.Count;)
        {
            PendingFetch fetch = _pendingFetches[i];
            if (!AreAnswered(fetch.Tickets))
            {
                i++;
                continue;
            }

            _pendingFetches.RemoveAt(i);
            if (AreRefused(fetch.Tickets))
            {
                SetFatal();
                return;
            }

            if (fetch.Submission is { } submission)
            {
                MakeReady(submission);
            }
            else if (fetch.Completion is { } completion)
            {
                completion.IsBlocked = false;
                PostWaiting(completion);
                completion.Stalled.ForEach(MakeReady);
                completion.Stalled.Clear();
            }
        }

        foreach (PendingCommand command in _pending.FindAll(command => command.IsDue(now) && AreAnswered(command.Tickets)))
        {
            if (!CanWork)
            {
                _mayResume = true;
                return;
            }

            if (!_pending.Remove(command))
            {
                // Ended by one before it.
                continue;
            }

            PageTicket?[] tickets = command.Tickets;
            command.Tickets = [];
            command.DueAt = null;
            if (command.Result is { } result)
            {
                Complete(command.Queue, command.Command.Id, result);
            }
            else if (AreRefused(tickets))
            {
                Complete(command.Queue, command.Command.Id, NvmeStatus.DataTransferError);
            }
            else
            {
                Run(command.Queue, command.Command, command);
            }

            Flush(command.Queue.Completion);
        }

        SetDelayTimer();
    }

    private long Now() => _options.TimeProvider.GetTimestamp();

    private long After(TimeSpan time) =>
        Now() + (long)(time.TotalSeconds * _options.TimeProvider.TimestampFrequency);

    // For the first of what is held back.
    private void SetDelayTimer()
    {
        if (_misbehaviour is null)
        {
            return;
        }

        long first = _misbehaviour.FirstLate;
        foreach (PendingCommand command in _pending)
        {
            first = Math.Min(first, command.DueAt ?? long.MaxValue);
        }

        if (first == long.MaxValue)
        {
            return;
        }

        double seconds = (double)Math.Max(first - Now(), 0) / _options.TimeProvider.TimestampFrequency;
        _delayTimer ??= _options.TimeProvider.CreateTimer(
            static state => ((NvmeController)state!).OnDelay(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

        // A timer may be early by less than its unit; it must not be so again and again.
        _ = _delayTimer.Change(TimeSpan.FromMilliseconds(Math.Min(Math.Ceiling(seconds * 1000), int.MaxValue)), Timeout.InfiniteTimeSpan);
    }

    private void OnDelay()
    {
        Post(LookAtPending, 0);
        RunPosted();
    }

    private bool IsPending(SubmissionQueue queue, ushort id)
    {
        foreach (PendingCommand command in _pending)
        {
            if (ReferenceEquals(command.Queue, queue) && command.Command.Id == id)
            {
                return true;
            }
        }

        return false;
    }

    // Ends commands of a queue before their time.
    private int EndPending(SubmissionQueue queue, ushort? id, NvmeStatus status)
    {
        int count = 0;
        foreach (PendingCommand command in _pending.FindAll(command => ReferenceEquals(command.Queue, queue) && (id is null || command.Command.Id == id)))
        {
            _ = _pending.Remove(command);
            Complete(queue, command.Command.Id, status);
            count++;
        }

        if (count > 0)
        {
            Flush(queue.Completion);
        }

        return count;
    }

    private static bool AreAnswered(PageTicket?[] tickets)
    {
        // One that was not asked for waits for any other.
        foreach (PageTicket? ticket in tickets)
        {
            if (ticket is { IsAnswered: false })
            {
                return false;
            }
        }

        return true;
    }

    private static bool AreRefused(PageTicket?[] tickets)
    {
        foreach (PageTicket? ticket in tickets)
        {
            if (ticket is { IsSuccess: false })
            {
                return true;
            }
        }

        return false;
    }

    // A submission queue that cannot fetch, or a completion queue that cannot be written.
    private sealed record PendingFetch(SubmissionQueue? Submission, CompletionQueue? Completion)
    {
        public PageTicket?[] Tickets { get; set; } = [];
    }

    // A command that waits for pages, or for its time.
    private sealed class PendingCommand(SubmissionQueue queue, NvmeCommand command)
    {
        public SubmissionQueue Queue => queue;

        public NvmeCommand Command => command;

        public PageTicket?[] Tickets { get; set; } = [];

        public int Attempts { get; set; }

        /// <summary>When it goes on, by the controller's clock; null for at once, the largest value for never.</summary>
        public long? DueAt { get; set; }

        /// <summary>How it ends when its time has come; null if it is only done then.</summary>
        public NvmeResult? Result { get; set; }

        public bool IsDue(long now) => DueAt is not { } due || due <= now;
    }
}
