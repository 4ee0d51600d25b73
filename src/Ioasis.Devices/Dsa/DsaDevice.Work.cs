using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices.Dsa;

/// <content>The turns of descriptors, and their way from the first check to what waits for a page.</content>
public sealed partial class DsaDevice
{
    // Pieces in one run of the thread that wrote to a portal.
    private const int TurnLimit = 256;

    // How often a page is asked for again without any progress.
    private const int FaultRetries = 16;

    private enum Progress
    {
        More,
        NeedsPage,
        NeedsOthers,
        Done,
    }

    /// <summary>Does a piece of work for the descriptor whose turn it is. For an accelerator that is stepped.</summary>
    /// <returns>Whether there was work; descriptors that wait for pages or for others are none.</returns>
    public bool Step()
    {
        if (_work.IsHeld)
        {
            return false;
        }

        bool worked;
        using (_work.Acquire())
        {
            worked = DoPiece();
        }

        Deliver();
        return worked;
    }

    /// <summary>Works until nothing is left but what waits for an answer from outside.</summary>
    /// <returns>Pieces done.</returns>
    public int Run()
    {
        int pieces = 0;
        while (Step())
        {
            pieces++;
        }

        return pieces;
    }

    // Whoever has the work looks again after giving it back, so that nothing that came meanwhile stays. A DMA of its own that leads back
    // to a portal finds the work held, and is done by the turn that it came from.
    private void RunPosted()
    {
        while (!_options.IsStepped && !_work.IsHeld && HasReady() && Volatile.Read(ref _resetsWanted) == 0 && _work.TryAcquire(out IoLock.Scope scope))
        {
            bool isDone = false;
            using (scope)
            {
                for (int turn = 0; turn < TurnLimit && !isDone; turn++)
                {
                    isDone = Volatile.Read(ref _resetsWanted) != 0 || !DoPiece();
                }
            }

            Deliver();
            if (!isDone)
            {
                _ = ThreadPool.QueueUserWorkItem(static device => device.RunPosted(), this, preferLocal: false);
                return;
            }
        }
    }

    private bool HasReady()
    {
        using (_lock.Acquire())
        {
            return _ready.Count > 0;
        }
    }

    private bool DoPiece()
    {
        WorkItem? item;
        using (_lock.Acquire())
        {
            do
            {
                if (!_ready.TryDequeue(out item))
                {
                    return false;
                }
            }
            while (item.Place != Place.Ready);

            item.Place = Place.Running;
        }

        Progress progress = Execute(item);
        using (_lock.Acquire())
        {
            item.Place = Place.Waiting;
            if (item.IsAborted)
            {
                Abort(item);
            }
            else if (progress == Progress.Done)
            {
                Remove(item);
            }
            else if (progress == Progress.More
                || (progress == Progress.NeedsPage && item.Ticket is not { IsAnswered: false })
                || (progress == Progress.NeedsOthers && !HasEarlier(item)))
            {
                MakeReady(item);
            }

            EndCommand();
        }

        return true;
    }

    private Progress Execute(WorkItem item)
    {
        if (item.Ticket is { } ticket && item.Child is null)
        {
            item.Ticket = null;
            if (!ticket.IsSuccess)
            {
                return item.Record is not null ? LoseCompletion(item) : Fail(item, DsaStatus.PageRefused);
            }
        }

        if (item.Record is not null)
        {
            return Complete(item);
        }

        DsaDescriptor descriptor = item.Descriptor;
        if (!item.IsStarted && Check(item, descriptor) is { Status: not DsaStatus.None } bad)
        {
            return End(item, bad);
        }

        return descriptor.Operation switch
        {
            DsaOperation.None or DsaOperation.CacheFlush => End(item, new(DsaStatus.Success)),
            DsaOperation.Batch => ExecuteBatch(item, descriptor),
            DsaOperation.Drain => Drain(item),
            DsaOperation.Compare or DsaOperation.ComparePattern => Compare(item, descriptor),
            DsaOperation.CreateDelta => CreateDelta(item, descriptor),
            DsaOperation.ApplyDelta => ApplyDelta(item, descriptor),
            _ => Transfer(item, descriptor),
        };
    }

    private DsaCompletion Check(WorkItem item, in DsaDescriptor descriptor)
    {
        item.IsStarted = true;
        DsaStatus status = DsaChecks.Find(descriptor, item.Bytes, item.Queue, item.Batch is not null, out DsaFlags badFlags);
        if (status == DsaStatus.None && descriptor.Has(DsaFlags.RequestInterrupt))
        {
            using (_lock.Acquire())
            {
                status = FindVector(descriptor.Handle, item.Pasid) < 0 ? DsaStatus.BadHandle : status;
            }
        }

        if (descriptor.Operation is DsaOperation.Crc or DsaOperation.CopyCrc)
        {
            item.Value = DsaCrc.Begin((uint)descriptor.Extra, descriptor.Has(DsaFlags.PlainCrc));
        }

        item.IsBackward = descriptor.Operation == DsaOperation.Move && descriptor.Destination - descriptor.Source is > 0 and var ahead && ahead < descriptor.Length;
        return new(status, Value: (uint)badFlags);
    }

    private Progress Drain(WorkItem item)
    {
        using (_lock.Acquire())
        {
            if (HasEarlier(item))
            {
                return Progress.NeedsOthers;
            }
        }

        return End(item, new(DsaStatus.Success));
    }

    // A batch works on its descriptors in order; each is an item of its own that the batch carries. So a fence has nothing to wait for.
    private Progress ExecuteBatch(WorkItem item, in DsaDescriptor descriptor)
    {
        if (item.Child is { } child)
        {
            Progress progress = Execute(child);
            item.Ticket = child.Ticket;
            if (progress != Progress.Done)
            {
                return progress;
            }

            item.HasFailedChild |= child.Result.Status != DsaStatus.Success;
            item.Child = null;
            item.Done++;
            return Progress.More;
        }

        if (item.Done == descriptor.Length)
        {
            return End(item, new(item.HasFailedChild ? DsaStatus.BatchFailed : DsaStatus.Success, 0, item.Done));
        }

        Span<byte> bytes = stackalloc byte[DsaDescriptor.Size];
        if (!TryRead(item, descriptor.Source + ((ulong)item.Done * DsaDescriptor.Size), bytes, out Progress fault))
        {
            return fault;
        }

        item.Child = new(item.Queue, item.Pasid, bytes) { Batch = item };
        if (item.HasFailedChild && item.Child.Descriptor.Has(DsaFlags.Fence))
        {
            item.Child = null;
            return End(item, new(DsaStatus.BatchFailed, 0, item.Done));
        }

        return Progress.More;
    }

    // Reads memory as the descriptor may. If it cannot be, the descriptor waits for a page or ends.
    private bool TryRead(WorkItem item, ulong address, Span<byte> destination, out Progress fault)
    {
        AtsStatus status = AtsStatus.Error;
        int done = 0;
        if (FindAts(item) is { } ats)
        {
            status = ats.Read(item.Pasid, address, destination, out done);
        }
        else if (ReadMemory(new(address), destination, item.Pasid) == DmaStatus.Success)
        {
            status = AtsStatus.Success;
        }

        return Passes(item, status, address + (ulong)done, isWrite: false, out fault);
    }

    private bool TryWrite(WorkItem item, ulong address, ReadOnlySpan<byte> source, out Progress fault)
    {
        AtsStatus status = WriteAs(item, address, source, out int done);
        return Passes(item, status, address + (ulong)done, isWrite: true, out fault);
    }

    private AtsStatus WriteAs(WorkItem item, ulong address, ReadOnlySpan<byte> source, out int done)
    {
        done = 0;
        return FindAts(item) is { } ats ? ats.Write(item.Pasid, address, source, out done)
            : WriteMemory(new(address), source, item.Pasid) == DmaStatus.Success ? AtsStatus.Success
            : AtsStatus.Error;
    }

    private EndpointAts? FindAts(WorkItem item) => IsBusMaster && item.Queue.UsesAts ? Connection?.Ats : null;

    private bool Passes(WorkItem item, AtsStatus status, ulong address, bool isWrite, out Progress fault)
    {
        fault = Progress.More;
        if (status == AtsStatus.Success)
        {
            item.Attempts = 0;
            return true;
        }

        item.FaultAddress = address;
        item.IsWriteFault = isWrite;
        if (status != AtsStatus.PageMissing)
        {
            fault = Fail(item, FindAts(item) is null ? DsaStatus.BusError : DsaStatus.TranslationError);
        }
        else if (!item.Descriptor.Has(DsaFlags.BlockOnFault) || !TryAsk(item, address, isWrite ? Access.Write : Access.Read, out fault))
        {
            fault = Fail(item, DsaStatus.PageFault);
        }

        return false;
    }

    private bool TryAsk(WorkItem item, ulong address, Access access, out Progress progress)
    {
        progress = Progress.NeedsPage;
        if (FindAts(item) is not { } ats || !item.Queue.UsesPageRequests || item.Attempts++ >= FaultRetries)
        {
            return false;
        }

        // Descriptors of a batch wait through the batch.
        WorkItem waiter = item.Batch ?? item;
        Errno error = ats.RequestPage(item.Pasid, address, access, out PageTicket? ticket, _ => OnPageAnswered(waiter));
        item.Ticket = ticket;
        if (error == Errno.Busy)
        {
            // Others have asked for as much as the device may; its turn comes again.
            item.Attempts--;
            progress = Progress.More;
            return true;
        }

        if (error == Errno.Success)
        {
            using (_lock.Acquire())
            {
                _statistics = _statistics with { PageWaits = _statistics.PageWaits + 1 };
            }
        }

        return error == Errno.Success;
    }

    // The answer to a page request. It may come while the piece that asked is still being done; then the piece's end sees it.
    private void OnPageAnswered(WorkItem item)
    {
        using (_lock.Acquire())
        {
            if (item.Place != Place.Waiting)
            {
                return;
            }

            MakeReady(item);
        }

        // Whoever brings the answer is not to do the work.
        if (!_options.IsStepped)
        {
            _ = ThreadPool.QueueUserWorkItem(static device => device.RunPosted(), this, preferLocal: false);
        }
    }
}
